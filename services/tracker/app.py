"""The routes of the tracker.

Promises: these are all the paths there are; anything else is the notice page with status 404 or a bare 405.
Fails: an unforeseen error is 500 without a word of why, and is logged.
"""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.tracker.answers import text
from services.tracker.engagement import Engagement
from services.tracker.rendering import Pages
from services.tracker.unsubscribe import Unsubscribe


def make_app(engagement: Engagement, unsubscribe: Unsubscribe, pages: Pages, prefix: str = "") -> Starlette:
    """The application; ``prefix`` is the path of the public URL."""

    async def not_found(request: Request, _error: Exception) -> Response:
        return pages.notice(request, 404, "bad_link")

    async def robots(_request: Request) -> Response:
        return text(200, "User-agent: *\nDisallow: /\n")

    return Starlette(
        routes=[
            Route(f"{prefix}/o/{{token}}", engagement.open, methods=["GET"]),
            Route(f"{prefix}/c/{{token}}/{{link}}", engagement.click, methods=["GET"]),
            Route(f"{prefix}/u/{{token}}", unsubscribe.answer, methods=["GET", "POST"]),
            Route("/robots.txt", robots, methods=["GET"]),
        ],
        exception_handlers={404: not_found},
    )
