"""The route class of every operation: body, authentication, one transaction; its name and status on the span.

Promises: a request is one transaction as the caller's tenant (``hayabin.database.tenancy``), committed before the
answer leaves and rolled back with any problem; READ ONLY where the method says so. Only what needs ``platform:admin``
is done as the services do it, over all tenants. No database connection is held while a body is awaited (uploads
excepted, which are few) or while something outside is asked (``before_transaction``). What adds to the sending is done
only while ``Admission`` lets it.
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
from hayabin.database.tenancy import enter
from hayabin.telemetry.logging import get_logger
from hayabin.telemetry.metrics import HTTP_REQUESTS, HTTP_SECONDS
from services.api import audit_trail
from services.api.access import Principal, Scope, require_scope, scopes_of
from services.api.admission import ADMITTED, Admission
from services.api.authentication import Caller, authenticate, note_use, require_form
from services.api.idempotency import once
from services.api.peer import peer_of
from services.api.problems import OutcomeUnknown, Problem, answer, translate
from services.api.sending_rate import COUNT_SQL
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
    "deleteList": 90.0,  # with who is on it: a million rows
    "countAudience": 90.0,
    "checkCampaign": 90.0,
    "previewAudience": 90.0,
    "previewSegment": 30.0,
    "listApprovals": 90.0,
    "approveCampaign": 90.0,
    "withdrawApproval": 90.0,
    "scheduleCampaign": 90.0,
    "verifyAudit": 90.0,
    "createAttribute": 90.0,  # the values of all contacts are read
    "changeAttribute": 90.0,
    "listDuplicates": 60.0,
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
        operation = _Operation(
            self.operation_id or "",
            super().get_route_handler(),
            _PREPARATIONS.get(self.endpoint),
            needs=scopes_of(dependency.call for dependency in self.dependant.dependencies),
            only_reads=not (self.methods or set()) - _READING and not audit_trail.writes(self.operation_id or ""),
        )
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
    needs: frozenset[Scope]
    only_reads: bool

    @property
    def of_platform(self) -> bool:
        """Whether it needs ``platform:admin``, and may touch what belongs to all tenants."""
        return Scope.PLATFORM_ADMIN in self.needs

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
        per_s: int = getattr(request.state, "sends_per_s", 0)
        ahead_s = await audit_trail.note(
            request, request.state.connection, self.id, response, (COUNT_SQL, per_s) if per_s else None
        )
        if per_s:  # last, as whoever is counted keeps the tenant's others waiting until its transaction ends
            request.app.state.sending_rate.counted(request.state.principal.tenant_id, per_s, ahead_s)
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
    request.state.peer = peer_of(request, request.app.state.trusted_proxies)
    if not is_upload(request):
        try:
            async with asyncio.timeout(BODY_S):
                await request.body()
        except TimeoutError as error:
            raise Problem(408, "request-timeout", "The body did not come. Send the request again.") from error
    if operation.preparation is not None:
        await _prepare(request, operation, operation.preparation, authorization)
    database: Database = request.app.state.database
    async with borrowed(database.pool, wait_s=CONNECTION_S, within_s=operation.within_s) as loan:
        connection = request.state.connection = loan.connection
        caller: Caller | None = None
        try:
            async with _transaction(connection, operation):
                if operation.preparation is None:
                    caller = await authenticate(
                        connection, authorization, request.state.peer, enters=not operation.of_platform
                    )
                    _admit(request, caller, operation)
                elif not operation.of_platform:
                    await enter(connection, request.state.principal.tenant_id)
                return await _in_transaction(request, operation)
        finally:
            if caller is not None:
                await note_use(connection, caller, request.state.peer)


async def _prepare(
    request: Request, operation: _Operation, preparation: Preparation, authorization: str | None
) -> None:
    """Authenticate, and run what comes before the transaction with no connection held."""
    database: Database = request.app.state.database
    async with borrowed(database.pool, wait_s=CONNECTION_S, within_s=ORDINARY_S) as loan:
        caller = await authenticate(loan.connection, authorization, request.state.peer, enters=False)
        await note_use(loan.connection, caller, request.state.peer)
    _admit(request, caller, operation)
    request.state.prepared = await preparation(request, caller.principal)


def _admit(request: Request, caller: Caller, operation: _Operation) -> None:
    """Let a caller go on who may do it; before anything is done, so that no replay is given to who may not."""
    request.state.principal = caller.principal
    request.app.state.rate_limit.take(caller.principal.key_id)
    for scope in operation.needs:
        require_scope(caller.principal, scope)


async def _in_transaction(request: Request, operation: _Operation) -> Response:
    key = request.headers.get("idempotency-key")
    if request.method != "POST" or key is None:
        return await operation.do(request)
    return await once(request, request.state.connection, key, operation.do)


@asynccontextmanager
async def _transaction(connection: Connection, operation: _Operation) -> AsyncIterator[None]:
    """One transaction; whoever changed something and loses the answer to its COMMIT is told so.

    Raises:
        OutcomeUnknown: it may have been committed, or not.
    """
    transaction = connection.transaction(readonly=operation.only_reads)
    await transaction.start()
    try:
        yield
    except BaseException:
        try:
            await transaction.rollback()
        except AWAY as error:  # then it is rolled back by the end of its connection, which the pool sees to
            get_logger().warning("rollback_lost", error=repr(error))
        raise
    if operation.sends:
        reach(CrashPoint.API_BEFORE_COMMIT)
    try:
        await transaction.commit()
    except _SAYS_NOTHING as error:
        if not operation.only_reads:
            raise OutcomeUnknown from error
        get_logger().warning("commit_of_read_lost", error=repr(error))  # the answer is true all the same
    if operation.sends:
        reach(CrashPoint.API_COMMITTED)
