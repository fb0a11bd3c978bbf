"""Unsubscribe: ``/u/<token>``, by one click (RFC 8058) or by the buttons of a page.

Promises: only a POST changes anything, and only one whose body asks for it; GET and HEAD show the page. 200 is said
after the commit. The answer to a repeated request is the same.
Fails: 404 for a token that is not ours, 400 for a body that asks for nothing, 413 for one that is too long, 503 with
Retry-After where Postgres is away.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from starlette.formparsers import FormParser, MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from hayabin.crash_points import CrashPoint, reach
from hayabin.database.engine import AWAY, Pool
from hayabin.domain.token import TokenInvalid, TokenRing, UnsubscribeClaim
from hayabin.telemetry.logging import get_logger
from hayabin.telemetry.metrics import ENGAGEMENTS
from services.tracker.answers import text
from services.tracker.rendering import Pages
from services.tracker.subscription import Scope, Standing, look, stop

BODY_MAX_BYTES: Final = 16 * 1024
BODY_WITHIN_S: Final = 10.0
_FIELDS_MAX: Final = 10


class BodyTooLong(Exception):
    """More than a form of ours or a one-click request can have."""


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """The endpoint and what it needs."""

    ring: TokenRing
    pool: Pool
    pages: Pages
    database_within_s: float

    async def answer(self, request: Request) -> Response:
        """Any request to ``/u/<token>``."""
        try:
            claim = self.ring.read_unsubscribe(request.path_params["token"])
        except TokenInvalid:
            return self.pages.notice(request, 404, "bad_link")
        try:
            return await (self._change(request, claim) if request.method == "POST" else self._show(request, claim))
        except AWAY as error:
            get_logger().warning("unsubscribe_waits", method=request.method, error=repr(error))
            return self.pages.notice(request, 503, "away")

    async def _show(self, request: Request, claim: UnsubscribeClaim) -> Response:
        async with asyncio.timeout(self.database_within_s), self.pool.acquire() as connection:
            standing = await look(connection, claim)
        return self._page(request, claim, standing, done=False)

    async def _change(self, request: Request, claim: UnsubscribeClaim) -> Response:
        try:
            form = await _form(request)
        except (BodyTooLong, ClientDisconnect):
            return self.pages.notice(request, 413, "bad_request")
        except (TimeoutError, MultiPartException, ValueError):
            return self.pages.notice(request, 400, "bad_request")
        one_click = form.get("List-Unsubscribe") == "One-Click"
        if not one_click and form.get("scope") not in set(Scope):
            return self.pages.notice(request, 400, "bad_request")
        scope = Scope.LIST if one_click else Scope(form["scope"])
        async with asyncio.timeout(self.database_within_s), self.pool.acquire() as connection:
            async with connection.transaction():
                known = await stop(connection, claim, scope, datetime.now(UTC))
            reach(CrashPoint.UNSUBSCRIBE_COMMITTED)
            ENGAGEMENTS.labels("unsubscribe").inc()
            get_logger().info(
                "unsubscribed", message_id=claim.message_id, scope=scope.value, one_click=one_click, known=known
            )
            if one_click:
                return text(200, "unsubscribed\n")
            standing = await look(connection, claim)
        return self._page(request, claim, standing, done=known)

    def _page(self, request: Request, claim: UnsubscribeClaim, standing: Standing | None, *, done: bool) -> Response:
        if standing is None or standing.address is None:
            return self.pages.notice(request, 200, "gone")
        return self.pages.unsubscribe(request, standing, has_list=bool(claim.list_id), done=done)


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form; RFC 8058 §3.2 has mail systems send ``multipart/form-data`` or the URL-encoded kind.

    Raises:
        BodyTooLong, TimeoutError, ClientDisconnect, MultiPartException: the body can not be read.

    """
    async with asyncio.timeout(BODY_WITHIN_S):
        body = await _body(request)
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        parser = MultiPartParser(
            request.headers, _once(body), max_files=_FIELDS_MAX, max_fields=_FIELDS_MAX, max_part_size=BODY_MAX_BYTES
        )
        fields = await parser.parse()
    else:
        fields = await FormParser(request.headers, _once(body)).parse()
    return {name: value for name, value in fields.multi_items() if isinstance(value, str)}


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_MAX_BYTES:
            raise BodyTooLong
    return body


async def _once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body
