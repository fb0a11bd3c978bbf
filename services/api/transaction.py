"""The route class of every operation: body, authentication, one transaction; its name and status on the span.

Promises: a request that changes something is one transaction, committed before the answer leaves and rolled back with
any problem. No database connection is held while a body is awaited (uploads excepted, which are few) or while
something outside is asked (``before_transaction``). What adds to the sending is done only while ``Admission`` lets it.
Fails: every exception is answered as ``problems`` says; 408 for a body that does not come, 503 when no connection is
free in time or the database does not answer in time (``ORDINARY_S``, ``LONG_S``); 503 ``outcome-unknown`` where the
answer to COMMIT was lost, which is the only case in which a 503 does not mean that nothing was done.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import asyncpg
from fastapi import Request, Response
from fastapi.routing import APIRoute
from opentelemetry import trace

from hayabin.crash_points import CrashPoint, reach
from hayabin.database.engine import AWAY, Connection, Database
from hayabin.database.lending import borrowed
from hayabin.telemetry.logging import get_logger
from hayabin.telemetry.metrics import HTTP_REQUESTS, HTTP_SECONDS
from services.api import audit_trail
from services.api.access import Principal, authenticate, require_form
from services.api.admission import ADMITTED, Admission
from services.api.idempotency import once
from services.api.problems import OutcomeUnknown, Problem, answer, translate
from services.api.upload import UPLOAD_S, is_upload

BODY_S: Final = 30.0
CONNECTION_S: Final = 4.0
ORDINARY_S: Final = 10.0
"""For all that an ordinary request asks of the database, once it has a connection."""
LONG_S: Final[Mapping[str, float]] = {
    "launchCampaign": 180.0,  # a million rows; each statement has the engine's limit
    "resumeCampaign": 90.0,
    "resolveUnknown": 90.0,
    "addMembers": 90.0,
    "countAudience": 90.0,
    "downloadImportErrors": 90.0,
    "startImport": UPLOAD_S + 60.0,
}
"""The same for operations that may take longer, by id."""
_READING = frozenset({"GET", "HEAD"})
_SAYS_NOTHING = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CrashShutdownError,  # of all that an operator does to a session the only one that strikes within a COMMIT
    asyncpg.InternalClientError,
)
"""Failures of a COMMIT after which it may have taken effect; any other says that it did not, or was not even sent."""
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
        operation = _Operation(self.operation_id or "", super().get_route_handler(), _PREPARATIONS.get(self.endpoint))
        path = self.path

        async def handler(request: Request) -> Response:
            started = time.perf_counter()
            span = trace.get_current_span()
            span.update_name(f"{request.method} {path}")
            try:
                response = await _run(request, operation)
            except Exception as error:  # noqa: BLE001 - translated, logged where it is ours
                response = answer(request, translate(error))
            span.set_attribute("http.route", path)
            span.set_attribute("http.response.status_code", response.status_code)
            _note(request, path, response.status_code, time.perf_counter() - started)
            response.headers.setdefault("Cache-Control", "no-store")
            return response

        return handler


@dataclass(frozen=True, slots=True)
class _Operation:
    """What a route does."""

    id: str
    inner: Handler
    preparation: Preparation | None

    @property
    def sends(self) -> bool:
        """Whether it adds to the sending."""
        return self.id in ADMITTED

    @property
    def within_s(self) -> float:
        """How long it may have a connection."""
        return LONG_S.get(self.id, ORDINARY_S)

    async def do(self, request: Request) -> Response:
        """Ask for admission, then do it; in here, so that a replay of what was done once is answered in any case."""
        if self.sends:
            admission: Admission = request.app.state.admission
            await admission.require(request.state.connection, self.id, request.state.principal.tenant_id)
        response = await self.inner(request)
        await audit_trail.note(request, request.state.connection, self.id, response)
        return response


def _note(request: Request, path: str, status: int, seconds: float) -> None:
    HTTP_REQUESTS.labels(path, request.method, status).inc()
    HTTP_SECONDS.labels(path).observe(seconds)
    if request.method not in _READING:
        principal: Principal | None = getattr(request.state, "principal", None)
        get_logger().info(
            "request_answered", method=request.method, route=path, status=status, ms=round(seconds * 1000),
            tenant_id=principal and principal.tenant_id, key_id=principal and principal.key_id,
        )  # fmt: skip


async def _run(request: Request, operation: _Operation) -> Response:
    authorization = request.headers.get("authorization")
    require_form(authorization)
    if not is_upload(request):
        try:
            async with asyncio.timeout(BODY_S):
                await request.body()
        except TimeoutError as error:
            raise Problem(408, "request-timeout", "The body did not come. Send the request again.") from error
    database: Database = request.app.state.database
    async with borrowed(database.pool, wait_s=CONNECTION_S, within_s=ORDINARY_S) as loan:
        principal = request.state.principal = await authenticate(loan.connection, authorization)
        request.app.state.rate_limit.take(principal.key_id)
        if operation.preparation is None:
            loan.allow(operation.within_s)
            return await _on(loan.connection, request, operation)
    request.state.prepared = await operation.preparation(request, principal)
    async with borrowed(database.pool, wait_s=CONNECTION_S, within_s=operation.within_s) as loan:
        return await _on(loan.connection, request, operation)


async def _on(connection: Connection, request: Request, operation: _Operation) -> Response:
    request.state.connection = connection
    if request.method in _READING:
        return await operation.do(request)
    async with _transaction(connection, sends=operation.sends):
        key = request.headers.get("idempotency-key")
        if request.method != "POST" or key is None:
            return await operation.do(request)
        return await once(request, connection, key, operation.do)


@asynccontextmanager
async def _transaction(connection: Connection, *, sends: bool) -> AsyncIterator[None]:
    """One transaction; whoever loses the answer to its COMMIT is told so.

    Raises:
        OutcomeUnknown: it may have been committed, or not.
    """
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    except BaseException:
        try:
            await transaction.rollback()
        except AWAY as error:  # then it is rolled back by the end of its connection, which the pool sees to
            get_logger().warning("rollback_lost", error=repr(error))
        raise
    if sends:
        reach(CrashPoint.API_BEFORE_COMMIT)
    try:
        await transaction.commit()
    except _SAYS_NOTHING as error:
        raise OutcomeUnknown from error
    if sends:
        reach(CrashPoint.API_COMMITTED)
