"""The route class of every operation: authentication, one transaction, idempotency, one span.

Promises: a request that changes something is one transaction, committed before the answer leaves and rolled back with
any problem. With an ``Idempotency-Key`` the answer is kept in that same transaction: the effect and its record exist
together or not at all; a replay gives the same answer with ``Idempotency-Replayed: true``.
Fails: 422 for the same key with another request, 409 with Retry-After while the first one is in flight.
Source: the IETF draft "The Idempotency-Key HTTP Header Field".
"""

import hashlib
import time
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from opentelemetry.trace import SpanKind

from hayabin.database.engine import Connection, Database
from hayabin.telemetry import tracing
from hayabin.telemetry.metrics import HTTP_REQUESTS, HTTP_SECONDS
from services.api.access import authenticate
from services.api.problems import Problem, answer, translate

KEY_MAX_CHARS = 200
_READING = frozenset({"GET", "HEAD"})
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class TransactionRoute(APIRoute):
    """See the module."""

    def get_route_handler(self) -> Handler:
        """Wrap FastAPI's handler."""
        inner = super().get_route_handler()
        path = self.path

        async def handler(request: Request) -> Response:
            started = time.perf_counter()
            with tracing.tracer().start_as_current_span(
                f"{request.method} {path}", context=tracing.extract(request.headers), kind=SpanKind.SERVER
            ) as span:
                try:
                    response = await _run(request, inner)
                except Exception as error:  # noqa: BLE001 - translated, logged where it is ours
                    response = answer(request, translate(error))
                span.set_attribute("http.response.status_code", response.status_code)
            HTTP_REQUESTS.labels(path, request.method, response.status_code).inc()
            HTTP_SECONDS.labels(path).observe(time.perf_counter() - started)
            return response

        return handler


async def _run(request: Request, inner: Handler) -> Response:
    database: Database = request.app.state.database
    async with database.pool.acquire() as connection:
        request.state.connection = connection
        request.state.principal = await authenticate(connection, request.headers.get("authorization"))
        if request.method in _READING:
            return await inner(request)
        async with connection.transaction():
            key = request.headers.get("idempotency-key")
            if request.method != "POST" or key is None:
                return await inner(request)
            return await _once(request, connection, key, inner)


async def _once(request: Request, connection: Connection, key: str, inner: Handler) -> Response:
    if not key or len(key) > KEY_MAX_CHARS or not key.isprintable():
        raise Problem(
            422, "invalid-idempotency-key", f"Idempotency-Key takes 1 to {KEY_MAX_CHARS} printable characters."
        )
    tenant_id = request.state.principal.tenant_id
    lock = int.from_bytes(hashlib.blake2b(f"{tenant_id}:{key}".encode(), digest_size=8).digest(), signed=True)
    if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", lock):
        raise Problem(
            409,
            "idempotency-in-flight",
            "The first request with this Idempotency-Key is still being worked on.",
            headers={"Retry-After": "1"},
        )
    fingerprint = await _fingerprint(request)
    kept = await connection.fetchrow(
        "SELECT fingerprint, status, headers, body FROM idempotency_keys WHERE tenant_id = $1 AND key = $2",
        tenant_id,
        key,
    )
    if kept is not None:
        if kept["fingerprint"] != fingerprint:
            raise Problem(422, "idempotency-key-reused", "This Idempotency-Key belongs to a different request.")
        return Response(kept["body"], kept["status"], {**kept["headers"], "Idempotency-Replayed": "true"})
    response = await inner(request)
    headers = {name: value for name, value in response.headers.items() if name in {"content-type", "location"}}
    await connection.execute(
        "INSERT INTO idempotency_keys (tenant_id, key, fingerprint, status, headers, body) VALUES ($1,$2,$3,$4,$5,$6)",
        tenant_id,
        key,
        fingerprint,
        response.status_code,
        headers,
        bytes(response.body),
    )
    return response


async def _fingerprint(request: Request) -> bytes:
    """Of method, path, query and body; of an upload's body the length stands for all of it."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{request.method} {request.url.path}?{request.url.query}\n".encode())
    if request.url.path.rstrip("/").endswith("/imports"):
        digest.update(request.headers.get("content-length", "").encode())
    else:
        digest.update(await request.body())
    return digest.digest()
