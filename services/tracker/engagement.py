"""Opens and clicks: ``/o/<token>`` and ``/c/<token>/<link>``.

Promises: the event is safely on the belt before the answer is sent, unless the belt does not take it in time: the
recipient gets the answer all the same. A wrong token records nothing, and a click leads nowhere but to the destination
of the link or one that we signed. HEAD, and a browser that fetches ahead of the person, record nothing.
Fails: 404 for what is not ours; 503 where the destination has to be looked up and Postgres is away.
"""

import secrets
import time
from dataclasses import dataclass
from typing import Final, NamedTuple

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.types import ASGIApp, Scope

from hayabin.contracts.event_pb2 import (
    ENGAGEMENT_KIND_CLICK,
    ENGAGEMENT_KIND_OPEN,
    EngagementKind,
    Event,
)
from hayabin.database.engine import AWAY
from hayabin.domain.token import TokenInvalid, TokenRing
from hayabin.telemetry.logging import get_logger
from services.tracker.answers import Ready, pixel, redirect
from services.tracker.destination import dynamic_destination
from services.tracker.handoff import EventBelt
from services.tracker.links import Links
from services.tracker.rendering import Pages

USER_AGENT_MAX_CHARS: Final = 200
_LINK_MAX_DIGITS: Final = 5
_PURPOSES: Final = frozenset({b"purpose", b"sec-purpose"})
_KINDS: Final[dict[EngagementKind, str]] = {ENGAGEMENT_KIND_OPEN: "open", ENGAGEMENT_KIND_CLICK: "click"}


@dataclass(frozen=True, slots=True)
class Engagement:
    """The two endpoints and what they need."""

    ring: TokenRing
    belt: EventBelt
    links: Links
    pages: Pages

    async def open(self, scope: Scope, token: str) -> ASGIApp:
        """The open pixel."""
        try:
            message_id = self.ring.read_tracking(token)
        except TokenInvalid:
            return pixel(404)
        asker = _asker(scope)
        if asker.is_meant:
            await self._record(asker, ENGAGEMENT_KIND_OPEN, message_id)
        return pixel(200)

    async def click(self, scope: Scope, token: str, number: str) -> ASGIApp:
        """A tracked link."""
        try:
            message_id = self.ring.read_tracking(token)
        except TokenInvalid:
            return self.pages.notice(Request(scope), 404, "bad_link")
        if not (number.isascii() and number.isdigit() and len(number) <= _LINK_MAX_DIGITS):
            return self.pages.notice(Request(scope), 404, "bad_link")
        link = int(number)
        try:
            answer = await self._destination(scope, message_id, link)
        except AWAY as error:
            get_logger().warning("destination_unknown", message_id=message_id, error=repr(error))
            return self.pages.notice(Request(scope), 503, "away")
        if answer is None:
            return self.pages.notice(Request(scope), 404, "bad_link")
        asker = _asker(scope)
        if asker.is_meant:
            await self._record(asker, ENGAGEMENT_KIND_CLICK, message_id, link)
        return answer

    async def _destination(self, scope: Scope, message_id: int, link: int) -> Ready | None:
        if scope["query_string"]:
            signed = QueryParams(scope["query_string"])
            if "u" in signed or "m" in signed:
                url = dynamic_destination(self.ring, message_id, link, signed.get("u", ""), signed.get("m", ""))
                return None if url is None else redirect(url)
        answers = self.links.kept(message_id)
        if answers is None:
            answers = await self.links.look_up(message_id)
        return answers[link] if link < len(answers) else None

    async def _record(self, asker: "_Asker", kind: EngagementKind, message_id: int, link: int = 0) -> None:
        event = Event(event_id=secrets.token_bytes(16), occurred_ms=int(time.time() * 1000))
        fact = event.engagement  # filled in place: a message that is given to another is copied
        fact.message_id, fact.kind, fact.link, fact.user_agent = message_id, kind, link, asker.user_agent
        await self.belt.hand_over(event, _KINDS[kind])


class _Asker(NamedTuple):
    """Who asks: their browser, and whether a person (or a machine in their place) does, rather than a look ahead."""

    user_agent: str
    is_meant: bool


def _asker(scope: Scope) -> _Asker:
    user_agent, is_meant = b"", scope["method"] == "GET"
    for name, value in scope["headers"]:
        if name == b"user-agent" and not user_agent:
            user_agent = value
        elif name in _PURPOSES and b"prefetch" in value.lower():
            is_meant = False
    return _Asker(user_agent.decode("latin-1")[:USER_AGENT_MAX_CHARS], is_meant)
