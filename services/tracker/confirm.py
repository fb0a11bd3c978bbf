"""Confirmations: ``/s/<token>``, the link of the mail that asks whether a sign-up or a new address is meant.

Promises: GET shows a page with one button and changes nothing, whatever follows links in mails; the POST of that button
does what was asked, once. Nothing but that mail has the token: it is signed for its address and kept nowhere.
Fails: 404 for a token that is not ours or long forgotten, 410 for one that came too late, 503 where Postgres is away.
"""

import asyncio
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from hayabin.database import confirming
from hayabin.database.confirming import Confirmation, Verdict
from hayabin.database.engine import Connection, Pool
from hayabin.domain.token import TokenInvalid, TokenRing
from hayabin.telemetry.logging import get_logger
from services.tracker.frame import or_away
from services.tracker.rendering import Pages
from services.tracker.visitors import Visitors

_BIGINT_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Confirm:
    """The endpoint and what it needs."""

    ring: TokenRing
    pool: Pool
    pages: Pages
    visitors: Visitors
    database_within_s: float

    async def answer(self, request: Request) -> Response:
        """Any request to ``/s/<token>``; a POST needs no body, as it is no link that does it."""
        return await or_away(request, self.pages, "confirmation_waits", self._answer(request))

    async def _answer(self, request: Request) -> Response:
        async with asyncio.timeout(self.database_within_s), self.pool.acquire() as connection:
            if request.method != "POST":
                return self._page(request, await self._look(connection, request), now=False)
            async with connection.transaction():
                asked = await self._look(connection, request, lock=True)
                does = asked is not None and asked.verdict is Verdict.OPEN
                if asked is not None and does:
                    ip, user_agent = self.visitors.ip(request), self.visitors.user_agent(request)
                    await confirming.confirm(connection, asked, ip, user_agent)
        if asked is not None and does:
            get_logger().info("confirmed", kind=asked.row["kind"], form_id=asked.row["form_id"])
        return self._page(request, asked, now=does)

    async def _look(self, connection: Connection, request: Request, *, lock: bool = False) -> Confirmation | None:
        """What a token of ours asks; None for any other."""
        token = request.path_params["token"]
        try:
            message_id = self.ring.look_at_confirm(token)
            if message_id > _BIGINT_MAX:
                return None
            asked = await confirming.look(connection, message_id, lock=lock)
            if asked is not None:
                self.ring.check_confirm(token, asked.address)
        except TokenInvalid:
            return None
        return asked

    def _page(self, request: Request, asked: Confirmation | None, *, now: bool) -> Response:
        if asked is None:
            return self.pages.notice(request, 404, "bad_link")
        if now:
            return self.pages.confirmed(request, asked)
        match asked.verdict:
            case Verdict.OPEN:
                return self.pages.confirm(request, asked)
            case Verdict.DONE:
                return self.pages.notice(request, 200, "already_confirmed")
            case Verdict.OVER:
                return self.pages.notice(request, 410, "too_late")
