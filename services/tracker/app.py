"""The routes of the tracker.

Promises: these are all the paths there are; anything else is the notice page with status 404 or a bare 405. Pixel and
links, which are nearly all the requests there are, are answered without the framework, whose routing and middleware
would take twice the time of the rest.
Fails: an unforeseen error is 500 without a word of why, and is logged.
"""

from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from services.tracker.answers import not_allowed, text
from services.tracker.confirm import Confirm
from services.tracker.engagement import Engagement
from services.tracker.preference_centre import PreferenceCentre
from services.tracker.rendering import Pages
from services.tracker.sign_up import SignUpForms
from services.tracker.unsubscribe import Unsubscribe

_READING = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Front:
    """Answers ``<prefix>/o/<token>`` and ``<prefix>/c/<token>/<link>``; ``others`` has the rest."""

    engagement: Engagement
    others: ASGIApp
    prefix: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        answer = await self._answer(scope) if scope["type"] == "http" else None
        await (answer or self.others)(scope, receive, send)

    async def _answer(self, scope: Scope) -> ASGIApp | None:
        path: str = scope["path"]
        if not path.startswith(self.prefix):
            return None
        match path[len(self.prefix) :].split("/"):
            case ["", "o", token] if token:
                return await self.engagement.open(scope, token) if scope["method"] in _READING else not_allowed()
            case ["", "c", token, link] if token and link:
                return await self.engagement.click(scope, token, link) if scope["method"] in _READING else not_allowed()
        return None


@dataclass(frozen=True, slots=True)
class People:
    """What people do by hand, on pages."""

    unsubscribe: Unsubscribe
    preferences: PreferenceCentre
    confirm: Confirm
    sign_up: SignUpForms


def make_app(engagement: Engagement, people: People, pages: Pages, prefix: str = "") -> Front:
    """The application; ``prefix`` is the path of the public URL."""

    async def not_found(request: Request, _error: Exception) -> Response:
        return pages.notice(request, 404, "bad_link")

    async def robots(_request: Request) -> Response:
        return text(200, "User-agent: *\nDisallow: /\n")

    others = Starlette(
        routes=[
            Route(f"{prefix}/u/{{token}}", people.unsubscribe.answer, methods=["GET", "POST"]),
            Route(f"{prefix}/p/{{token}}", people.preferences.answer, methods=["GET", "POST"]),
            Route(f"{prefix}/s/{{token}}", people.confirm.answer, methods=["GET", "POST"]),
            Route(f"{prefix}/f/{{form}}", people.sign_up.answer, methods=["GET", "POST"]),
            Route("/robots.txt", robots, methods=["GET"]),
        ],
        exception_handlers={404: not_found},
    )
    return Front(engagement, others, prefix)
