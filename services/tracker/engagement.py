"""Opens and clicks: ``/o/<token>`` and ``/c/<token>/<link>``.

Promises: the event is safely on the belt before the answer is sent, unless the belt does not take it in time: the
recipient gets the answer all the same. A wrong token records nothing, and a click leads nowhere but to the destination
of the link or one that we signed. HEAD, and a browser that fetches ahead of the person, record nothing.
Fails: 404 for what is not ours; 503 where the destination has to be looked up and Postgres is away.
"""

import asyncio
import secrets
import time
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from hayabin.contracts.event_pb2 import (
    ENGAGEMENT_KIND_CLICK,
    ENGAGEMENT_KIND_OPEN,
    EngagementEvent,
    EngagementKind,
    Event,
)
from hayabin.database.engine import AWAY
from hayabin.domain.token import TokenInvalid, TokenRing
from hayabin.telemetry.logging import get_logger
from services.tracker.answers import pixel, redirect
from services.tracker.destination import dynamic_destination, to_location
from services.tracker.handoff import EventBelt
from services.tracker.links import Links
from services.tracker.rendering import Pages

USER_AGENT_MAX_CHARS: Final = 200
_LINK_MAX_DIGITS: Final = 5
_KINDS: Final[dict[EngagementKind, str]] = {ENGAGEMENT_KIND_OPEN: "open", ENGAGEMENT_KIND_CLICK: "click"}


@dataclass(frozen=True, slots=True)
class Engagement:
    """The two endpoints and what they need."""

    ring: TokenRing
    belt: EventBelt
    links: Links
    pages: Pages
    database_within_s: float

    async def open(self, request: Request) -> Response:
        """The open pixel."""
        try:
            message_id = self.ring.read_tracking(request.path_params["token"])
        except TokenInvalid:
            return pixel(404)
        if _is_meant(request):
            await self._record(request, ENGAGEMENT_KIND_OPEN, message_id)
        return pixel(200)

    async def click(self, request: Request) -> Response:
        """A tracked link."""
        number = request.path_params["link"]
        try:
            message_id = self.ring.read_tracking(request.path_params["token"])
        except TokenInvalid:
            return self.pages.notice(request, 404, "bad_link")
        if not (number.isascii() and number.isdigit() and len(number) <= _LINK_MAX_DIGITS):
            return self.pages.notice(request, 404, "bad_link")
        try:
            location = await self._location(request, message_id, int(number))
        except AWAY as error:
            get_logger().warning("destination_unknown", message_id=message_id, error=repr(error))
            return self.pages.notice(request, 503, "away")
        if location is None:
            return self.pages.notice(request, 404, "bad_link")
        if _is_meant(request):
            await self._record(request, ENGAGEMENT_KIND_CLICK, message_id, int(number))
        return redirect(location)

    async def _location(self, request: Request, message_id: int, link: int) -> str | None:
        signed = request.query_params
        if "u" in signed or "m" in signed:
            return dynamic_destination(self.ring, message_id, link, signed.get("u", ""), signed.get("m", ""))
        async with asyncio.timeout(self.database_within_s):
            url = await self.links.url(message_id, link)
        return None if url is None else to_location(url)

    async def _record(self, request: Request, kind: EngagementKind, message_id: int, link: int = 0) -> None:
        user_agent = request.headers.get("user-agent", "")[:USER_AGENT_MAX_CHARS]
        fact = EngagementEvent(message_id=message_id, kind=kind, link=link, user_agent=user_agent)
        event = Event(event_id=secrets.token_bytes(16), occurred_ms=int(time.time() * 1000), engagement=fact)
        await self.belt.hand_over(event, _KINDS[kind])


def _is_meant(request: Request) -> bool:
    """Whether a person (or a machine in their place) asks for it, rather than a browser that looks ahead."""
    ahead = request.headers.get("sec-purpose", "") + request.headers.get("purpose", "")
    return request.method == "GET" and "prefetch" not in ahead.lower()
