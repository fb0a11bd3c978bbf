"""The frame of every page that asks Postgres, and of those behind the signed link of a mail.

Promises: ``or_away`` says 503 with Retry-After where Postgres is away, whatever the page; ``by_link`` lets nobody in
but by a token of ours for an unsubscribe, and a method other than POST never gets to what changes something.
Fails: whatever else a page raises comes out.
"""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from hayabin.database.engine import AWAY
from hayabin.domain.token import TokenInvalid, TokenRing, UnsubscribeClaim
from hayabin.telemetry.logging import get_logger
from services.tracker.rendering import Pages

Page = Callable[[Request, UnsubscribeClaim], Awaitable[Response]]


async def or_away(request: Request, pages: Pages, event: str, answer: Awaitable[Response]) -> Response:
    """The answer, or that we will be back; ``event`` is what the log calls that."""
    try:
        return await answer
    except AWAY as error:
        get_logger().warning(event, method=request.method, error=repr(error))
        return pages.notice(request, 503, "away")


async def by_link(request: Request, ring: TokenRing, pages: Pages, event: str, *, show: Page, change: Page) -> Response:
    """The page of whom the token in the path names: ``change`` for a POST, ``show`` for any other method."""
    try:
        claim = ring.read_unsubscribe(request.path_params["token"])
    except TokenInvalid:
        return pages.notice(request, 404, "bad_link")
    return await or_away(request, pages, event, (change if request.method == "POST" else show)(request, claim))
