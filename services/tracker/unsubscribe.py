"""Unsubscribe: ``/u/<token>``, by one click (RFC 8058) or by the button of a page.

Promises: only a POST changes anything, and only one whose body asks for it; GET and HEAD show the page. 200 is said
after the commit, without a redirect or a cookie. The answer to a repeated request is the same.
Fails: 404 for a token that is not ours, 400 for a body that asks for nothing, 413 for one that is too long, 503 with
Retry-After where Postgres is away.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from hayabin.crash_points import CrashPoint, reach
from hayabin.database.engine import Pool
from hayabin.database.unsubscribing import Hand, Scope, Standing, look, stop
from hayabin.domain.token import TokenRing, UnsubscribeClaim
from hayabin.telemetry.logging import get_logger
from hayabin.telemetry.metrics import ENGAGEMENTS
from services.tracker.answers import text
from services.tracker.form_body import BodyTooLong, BodyUnreadable, read_form
from services.tracker.frame import by_link
from services.tracker.rendering import Pages
from services.tracker.visitors import Visitors

ONE_CLICK: Final = ("List-Unsubscribe", "One-Click")
"""The body of RFC 8058 §3.1, as field and value."""


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """The endpoint and what it needs."""

    ring: TokenRing
    pool: Pool
    pages: Pages
    database_within_s: float
    visitors: Visitors

    async def answer(self, request: Request) -> Response:
        """Any request to ``/u/<token>``."""
        return await by_link(request, self.ring, self.pages, "unsubscribe_waits", show=self._show, change=self._change)

    async def _show(self, request: Request, claim: UnsubscribeClaim) -> Response:
        async with asyncio.timeout(self.database_within_s), self.pool.acquire() as connection:
            standing = await look(connection, claim)
        return self._page(request, claim, standing, done=False)

    async def _change(self, request: Request, claim: UnsubscribeClaim) -> Response:
        try:
            form = await read_form(request)
        except BodyTooLong:
            return self.pages.notice(request, 413, "bad_request")
        except BodyUnreadable:
            return self.pages.notice(request, 400, "bad_request")
        one_click = form.get(ONE_CLICK[0]) == ONE_CLICK[1]
        if not one_click and form.get("scope") not in set(Scope):
            return self.pages.notice(request, 400, "bad_request")
        scope = Scope.LIST if one_click else Scope(form.get("scope"))
        hand = Hand(ip=self.visitors.ip(request) or None, user_agent=self.visitors.user_agent(request))
        async with asyncio.timeout(self.database_within_s), self.pool.acquire() as connection:
            async with connection.transaction():
                known = await stop(connection, claim, scope, datetime.now(UTC), hand)
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
