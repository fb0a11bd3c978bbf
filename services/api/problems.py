"""Errors as RFC 9457 problems.

Promises: every answer that is no success is ``application/problem+json`` with a stable ``type``; what is our fault (the
database is away or full, a bug) is 5xx, never 4xx, and says nothing of the inside. Trouble that passes is 503 with
Retry-After, and nothing was done; where that is not known, it is ``outcome-unknown``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from opentelemetry import trace
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from hayabin.database.engine import AWAY
from hayabin.database.launch import CampaignMissing, EmptyAudience
from hayabin.database.segments import SegmentMissing, SegmentTooDeep, TooSlow
from hayabin.domain.campaign import IllegalTransition
from hayabin.telemetry.logging import get_logger

MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 100
_NAMES = {
    f"uq_{table}_tenant_id_name": what
    for table, what in {
        "domains": "domain", "lists": "list", "segments": "segment", "sign_up_forms": "form", "templates": "template",
    }.items()
}  # fmt: skip
"""Constraints that keep the names of a tenant unique, and what has such a name."""


class Problem(Exception):
    """An answer that is an error; ``slug`` is the last part of its ``type``."""

    def __init__(
        self,
        status: int,
        slug: str,
        detail: str,
        *,
        errors: Sequence[dict[str, Any]] = (),
        headers: dict[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        """Say what is wrong and what to do; ``members`` are extensions (RFC 9457 §3.2), for programs."""
        super().__init__(detail)
        self.status = status
        self.slug = slug
        self.detail = detail
        self.errors = list(errors)
        self.headers = headers or {}
        self.members = members or {}


class OutcomeUnknown(Exception):
    """The answer to COMMIT was lost: what was asked is done, or it is not."""


def not_found(what: str) -> Problem:
    """404: it is not there, or it is another tenant's."""
    return Problem(404, "not-found", f"There is no such {what}.")


def answer(request: Request, problem: Problem) -> Response:
    """The problem as a response."""
    body: dict[str, Any] = {
        **problem.members,
        "type": f"/problems/{problem.slug}",
        "title": problem.slug.replace("-", " ").capitalize(),
        "status": problem.status,
        "detail": problem.detail,
        "instance": request.url.path,
    }
    if problem.errors:
        body["errors"] = problem.errors
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        body["trace_id"] = format(context.trace_id, "032x")
    return Response(orjson.dumps(body), status_code=problem.status, media_type=MEDIA_TYPE, headers=problem.headers)


def _from_validation(error: RequestValidationError) -> Problem:
    errors = []
    for item in error.errors()[:MAX_ERRORS]:
        where, *path = item["loc"]
        if item["type"] == "json_invalid":
            path = []
        pointer = "#" + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
        place = pointer if where == "body" else f"{where}:{'/'.join(map(str, path))}"
        # names of unknown fields come from the caller: bounded, and without half characters
        errors.append({"pointer": place.encode(errors="replace").decode()[:300], "message": item["msg"]})
    return Problem(422, "invalid-request", "The request does not have the form that is documented.", errors=errors)


def _from_http(error: HTTPException) -> Problem:
    slugs = {
        404: "not-found", 405: "method-not-allowed", 413: "too-large", 415: "unsupported-media-type",
        429: "too-many-requests", 503: "unavailable",
    }  # fmt: skip
    detail = {404: "There is nothing at this address.", 405: "This address does not know that method."}
    return Problem(
        error.status_code,
        slugs.get(error.status_code, "bad-request"),
        detail.get(error.status_code, str(error.detail)),
        headers=dict(error.headers or {}),
    )


def translate(error: Exception) -> Problem:
    """What an exception is to the outside; what is our fault is logged."""
    refusal = _refusal(error)
    if refusal is not None:
        return refusal
    trouble = _trouble(error)
    if trouble is not None:
        get_logger().warning("dependency_away", error=repr(error), cause=repr(error.__cause__))
        return trouble
    get_logger().error("request_failed", error=repr(error), exc_info=error)
    return Problem(500, "internal-error", "This is our fault, and it was logged. Try again later.")


def _trouble(error: Exception) -> Problem | None:
    """The problem where the database cannot serve just now, and will again."""
    match error:
        case OutcomeUnknown():
            return Problem(
                503,
                "outcome-unknown",
                "The database went away before it said whether this was done. Ask again with the same Idempotency-Key: "
                "you will have one effect. Without one, look first whether it was done.",
                headers={"Retry-After": "2"},
            )
        case asyncpg.DiskFullError():
            return Problem(
                503,
                "storage-full",
                "The database has no room left. Nothing was done. Your operator must give it more; then ask again.",
                headers={"Retry-After": "30"},
            )
        case asyncpg.ReadOnlySQLTransactionError():
            return Problem(
                503,
                "unavailable",
                "The database takes no changes just now (it is a standby). Nothing was done. Ask again.",
                headers={"Retry-After": "5"},
            )
        case _ if isinstance(error, AWAY):
            return Problem(
                503,
                "unavailable",
                "The database is not available just now. Nothing was done. Ask again.",
                headers={"Retry-After": "2"},
            )
        case _:
            return None


def _refusal(error: Exception) -> Problem | None:
    """The problem where the request is at fault, or what it refers to."""
    match error:
        case Problem():
            return error
        case RequestValidationError():
            return _from_validation(error)
        case HTTPException():
            return _from_http(error)
        case ClientDisconnect():
            return Problem(408, "request-timeout", "The connection ended before the body did.")
        case asyncpg.UniqueViolationError() if error.constraint_name in _NAMES:
            return Problem(409, "name-taken", f"There is a {_NAMES[error.constraint_name]} of this name.")
        case asyncpg.IntegrityConstraintViolationError():
            get_logger().warning("constraint_refused", constraint=error.constraint_name)
            return Problem(409, "conflict", "What this refers to has changed, or is in use elsewhere.")
        case asyncpg.DataError():
            return Problem(422, "invalid-request", "A value cannot be stored: it has characters that no text may have.")
        case _:
            return _refusal_by_campaign(error)


def _refusal_by_campaign(error: Exception) -> Problem | None:
    """The problem where a campaign or its audience does not allow what was asked."""
    match error:
        case CampaignMissing():
            return not_found("campaign")
        case EmptyAudience():
            return Problem(422, "empty-audience", "Nobody on the list is subscribed: there is nobody to send to.")
        case SegmentMissing():
            return Problem(409, "segment-missing", "A segment that this names is not there (any more).")
        case SegmentTooDeep():
            return Problem(422, "segment-too-deep", f"A segment cannot be used as it is: {error}.")
        case TooSlow():
            return Problem(422, "segment-too-slow", "This takes too long to be counted: make the rules narrower.")
        case IllegalTransition():
            return Problem(
                409, "wrong-state", f"The campaign is {error.current}; it cannot become {error.following} from there."
            )
        case _:
            return None


def install(app: FastAPI) -> None:
    """Answer every error of ``app`` by this module."""

    async def handle(request: Request, error: Exception) -> Response:
        return answer(request, translate(error))

    for kind in (Problem, RequestValidationError, HTTPException, CampaignMissing, EmptyAudience, IllegalTransition):
        app.add_exception_handler(kind, handle)
    app.add_exception_handler(Exception, handle)
