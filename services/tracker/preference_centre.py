"""The preference centre: ``/p/<token>``, reachable by the signed link of a mail alone.

Promises: GET and HEAD change nothing; a POST does the one thing that its field ``do`` names, and the page says so. The
token in the path is all that a request proves itself by: there is no cookie or session that a foreign site could make
a browser use, so there is nothing to forge requests with (CSRF).
Fails: 404 for a token that is not ours, 400 for a body that asks for nothing, 413, 422 for an address that is none, 503
where Postgres is away.
"""

import asyncio
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, assert_never

from starlette.requests import Request
from starlette.responses import Response

from hayabin.database import preferences
from hayabin.database.engine import Connection, Pool
from hayabin.database.preferences import Preferences, Visitor
from hayabin.domain.address import Address, AddressInvalid, parse_address
from hayabin.domain.token import TokenRing, UnsubscribeClaim
from hayabin.telemetry.logging import get_logger
from services.tracker.form_body import BodyTooLong, BodyUnreadable, Filled, read_form
from services.tracker.frame import by_link
from services.tracker.rendering import Pages
from services.tracker.visitors import Visitors
from services.tracker.words import LANGUAGES

_ID: Final = re.compile(r"[0-9]{1,18}", re.ASCII)


class Deed(StrEnum):
    """What a button does; the value of its form's field ``do``."""

    CHOOSE = "choose"
    """Topics and language."""
    PAUSE = "pause"
    RESUME = "resume"
    ADDRESS = "address"
    STOP = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody asks for."""

    deed: Deed
    topics: frozenset[int]
    mail_language: str
    """Empty where it stays."""
    page_language: str
    address: Address | None


@dataclass(frozen=True, slots=True)
class PreferenceCentre:
    """The endpoint and what it needs."""

    ring: TokenRing
    pool: Pool
    pages: Pages
    visitors: Visitors
    database_within_s: float

    async def answer(self, request: Request) -> Response:
        """Any request to ``/p/<token>``."""
        return await by_link(request, self.ring, self.pages, "preferences_wait", show=self._show, change=self._change)

    async def _show(self, request: Request, claim: UnsubscribeClaim) -> Response:
        async with asyncio.timeout(self.database_within_s), self.pool.acquire() as connection:
            standing = await preferences.look(connection, claim)
        return self._page(request, standing)

    async def _change(self, request: Request, claim: UnsubscribeClaim) -> Response:
        try:
            filled = await read_form(request)
            deed = Deed(filled.get("do"))
        except BodyTooLong:
            return self.pages.notice(request, 413, "bad_request")
        except (BodyUnreadable, ValueError):
            return self.pages.notice(request, 400, "bad_request")
        bad_address: str | None = None
        visitor = Visitor(claim, self.visitors.ip(request), self.visitors.user_agent(request))
        async with asyncio.timeout(self.database_within_s), self.pool.acquire() as connection:
            try:
                wish = _wish(deed, filled, self.pages.language(request))
            except AddressInvalid:
                bad_address = filled.get("email")
            else:
                async with connection.transaction():
                    await _grant(connection, visitor, wish)
                get_logger().info("preferences_changed", deed=deed.value, message_id=claim.message_id)
            standing = await preferences.look(connection, claim)
        if bad_address is not None:
            return self._page(request, standing, bad_address=bad_address)
        return self._page(request, standing, done=deed)

    def _page(
        self,
        request: Request,
        standing: Preferences | None,
        *,
        done: Deed | None = None,
        bad_address: str | None = None,
    ) -> Response:
        if standing is None or standing.contact_id is None:
            return self.pages.notice(request, 200, "gone")
        return self.pages.preferences(request, standing, done=done, bad_address=bad_address)


def _wish(deed: Deed, filled: Filled, page_language: str) -> Wish:
    """What a form asks for.

    Raises:
        AddressInvalid: the new address is none.
    """
    language = filled.get("language")
    return Wish(
        deed=deed,
        topics=frozenset(int(value) for value in filled.all("topic") if _ID.fullmatch(value)),
        mail_language=language if language in LANGUAGES else "",
        page_language=page_language,
        address=parse_address(filled.get("email")[:1000]) if deed is Deed.ADDRESS else None,
    )


async def _grant(connection: Connection, visitor: Visitor, wish: Wish) -> None:
    """Do what somebody wants; nothing where nothing is known of them any more."""
    standing = await preferences.look(connection, visitor.claim)
    if standing is None or standing.contact_id is None:
        return
    match wish.deed:
        case Deed.CHOOSE:
            locale = wish.mail_language or standing.locale
            await preferences.choose(connection, visitor, standing, wish.topics, locale)
        case Deed.PAUSE:
            await preferences.pause(connection, visitor, standing)
        case Deed.RESUME:
            await preferences.resume(connection, visitor, standing)
        case Deed.ADDRESS:
            if wish.address is not None:
                await preferences.ask_address(connection, visitor, standing, wish.address, wish.page_language)
        case Deed.STOP:
            await preferences.leave(connection, visitor, datetime.now(UTC))
        case _:
            assert_never(wish.deed)
