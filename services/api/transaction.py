"""The route class of every operation: body, authentication, one transaction; its name and status on the span.

Promises: a request that changes something is one transaction, committed before the answer leaves and rolled back with
any problem. No database connection is held while a body is awaited (uploads excepted, which are few) or while
something outside is asked (``before_transaction``).
Fails: every exception is answered as ``problems`` says; 408 for a body that does not come, 503 when no connection is
free in time.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.routing import APIRoute
from opentelemetry import trace

from hayabin.database.engine import Database
from hayabin.telemetry.logging import get_logger
from hayabin.telemetry.metrics import HTTP_REQUESTS, HTTP_SECONDS
from services.api.access import Principal, authenticate, require_form
from services.api.idempotency import once
from services.api.problems import Problem, answer, translate
from services.api.upload import is_upload

BODY_S = 30.0
CONNECTION_S = 5.0
_READING = frozenset({"GET", "HEAD"})
Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Preparation = Callable[[Request, Principal], Awaitable[Any]]
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

_PREPARATIONS: dict[Callable[..., Any], Preparation] = {}


def before_transaction(preparation: Preparation) -> Callable[[Endpoint], Endpoint]:
    """Run ``preparation`` ahead of the endpoint's transaction; the endpoint finds its result in ``state.prepared``."""

    def mark(endpoint: Endpoint) -> Endpoint:
        _PREPARATIONS[endpoint] = preparation
        return endpoint

    return mark


class TransactionRoute(APIRoute):
    """See the module."""

    def get_route_handler(self) -> Handler:
        """Wrap FastAPI's handler."""
        inner = super().get_route_handler()
        path = self.path
        preparation = _PREPARATIONS.get(self.endpoint)

        async def handler(request: Request) -> Response:
            started = time.perf_counter()
            span = trace.get_current_span()
            span.update_name(f"{request.method} {path}")
            try:
                response = await _run(request, inner, preparation)
            except Exception as error:  # noqa: BLE001 - translated, logged where it is ours
                response = answer(request, translate(error))
            span.set_attribute("http.route", path)
            span.set_attribute("http.response.status_code", response.status_code)
            _note(request, path, response.status_code, time.perf_counter() - started)
            response.headers.setdefault("Cache-Control", "no-store")
            return response

        return handler


def _note(request: Request, path: str, status: int, seconds: float) -> None:
    HTTP_REQUESTS.labels(path, request.method, status).inc()
    HTTP_SECONDS.labels(path).observe(seconds)
    if request.method not in _READING:
        principal: Principal | None = getattr(request.state, "principal", None)
        get_logger().info(
            "request_answered", method=request.method, route=path, status=status, ms=round(seconds * 1000),
            tenant_id=principal and principal.tenant_id, key_id=principal and principal.key_id,
        )  # fmt: skip


async def _run(request: Request, inner: Handler, preparation: Preparation | None) -> Response:
    authorization = request.headers.get("authorization")
    require_form(authorization)
    if not is_upload(request):
        try:
            async with asyncio.timeout(BODY_S):
                await request.body()
        except TimeoutError as error:
            raise Problem(408, "request-timeout", "The body did not come. Send the request again.") from error
    database: Database = request.app.state.database
    async with database.pool.acquire(timeout=CONNECTION_S) as connection:
        principal = request.state.principal = await authenticate(connection, authorization)
        request.app.state.rate_limit.take(principal.key_id)
        if preparation is None:
            return await _on(connection, request, inner)
    request.state.prepared = await preparation(request, principal)
    async with database.pool.acquire(timeout=CONNECTION_S) as connection:
        return await _on(connection, request, inner)


async def _on(connection: Any, request: Request, inner: Handler) -> Response:
    request.state.connection = connection
    if request.method in _READING:
        return await inner(request)
    async with connection.transaction():
        key = request.headers.get("idempotency-key")
        if request.method != "POST" or key is None:
            return await inner(request)
        return await once(request, connection, key, inner)
