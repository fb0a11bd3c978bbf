"""The OpenAPI document: FastAPI's, with the keys, the headers, the problems and an example of everything.

Promises: made once; needs no request.
Source: OpenAPI 3.1, RFC 9457.
"""

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from services.api.examples import ANSWERS, REQUESTS
from services.api.problems import MEDIA_TYPE

_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string", "description": "Stable; the last part names the kind"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong here, and what to do"},
        "instance": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"pointer": {"type": "string"}, "message": {"type": "string"}},
            },
        },
        "trace_id": {"type": "string"},
    },
    "example": {
        "type": "/problems/invalid-address",
        "title": "Invalid address",
        "status": 422,
        "detail": "The address cannot be mailed to.",
        "instance": "/v1/contacts",
        "errors": [{"pointer": "#/email", "message": "missing_at: there is no @"}],
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    },
}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 200},
    "description": "One effect for one key; a replay has the same answer and `Idempotency-Replayed: true`",
}

_CSV_OR_LINES = frozenset({"downloadExport", "exportAudit", "exportConsents"})
"""Files that may be asked for as lines of JSON."""


def document_of(app: FastAPI) -> dict[str, Any]:
    """The document of ``app``."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
        )
        components = document.setdefault("components", {})
        components["securitySchemes"] = {"apiKey": {"type": "http", "scheme": "bearer", "bearerFormat": "hyb_…"}}
        schemas = components.setdefault("schemas", {})
        schemas.pop("HTTPValidationError", None)
        schemas.pop("ValidationError", None)
        schemas["Problem"] = _PROBLEM
        for operations in document["paths"].values():
            for method, operation in operations.items():
                _complete(method, operation)
        app.openapi_schema = document
    return app.openapi_schema


def _complete(method: str, operation: dict[str, Any]) -> None:
    name = operation["operationId"]
    if name != "getHealth":
        operation["security"] = [{"apiKey": []}]
    if method == "post":
        operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        if name in REQUESTS and media_type != "multipart/form-data":
            content["example"] = REQUESTS[name]
    responses = operation["responses"]
    responses.pop("422", None)
    for response in responses.values():
        _describe(name, response, ANSWERS.get(name))
    responses["default"] = {
        "description": "A problem (RFC 9457)",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _describe(name: str, response: dict[str, Any], example: Any) -> None:
    match example:
        case None:
            response.pop("content", None)
        case str():
            media_type = "text/plain" if "text/plain" in response.get("content", {}) else "text/csv"
            response["content"] = {media_type: {"schema": {"type": "string"}, "example": example}}
            if name in _CSV_OR_LINES:
                response["content"]["application/x-ndjson"] = {"schema": {"type": "string"}}
        case _:
            response["content"] = {"application/json": {"schema": _schema_of(example), "example": example}}


def _nulls(example: Any) -> Iterator[str]:
    """The names of members that are null somewhere in an example."""
    match example:
        case dict():
            for name, value in example.items():
                if value is None:
                    yield name
                yield from _nulls(value)
        case list():
            for value in example:
                yield from _nulls(value)
        case _:
            pass


_ALSO_NULL: Final = frozenset({
    "address", "audience", "changed_at", "code", "contact_id", "delimiter", "duration_ms", "encoding", "enhanced",
    "format", "ip", "key_id", "lane", "limit_per_s", "mx", "new", "old", "phase", "provider", "reply", "source_ip",
    "tls", "tls_policy", "tls_result", "tls_version", "until", "user_id", "was",
})  # fmt: skip
"""Those that no example shows so: the database may have nothing there."""
MAY_BE_NULL: Final = frozenset(_nulls(list(ANSWERS.values()))) | _ALSO_NULL
"""A member that is null in one example may be so wherever it is."""


def _schema_of(example: Any, name: str = "") -> dict[str, Any]:
    """The schema that an example shows: its members and their types."""
    match example:
        case bool():
            schema: dict[str, Any] = {"type": "boolean"}
        case int():
            schema = {"type": "integer"}
        case float():
            schema = {"type": "number"}
        case str():
            schema = {"type": "string"}
        case dict():
            members = {member: _schema_of(value, member) for member, value in example.items()}
            schema = {"type": "object", "properties": members}
        case list():
            schema = {"type": "array", "items": _schema_of(example[0]) if example else {}}
        case _:
            return {}
    return {**schema, "type": [schema["type"], "null"]} if name in MAY_BE_NULL else schema
