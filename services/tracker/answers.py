"""The answers of the tracker, with the header fields that each of them has.

Promises: no answer is stored by a cache, sets a cookie, tells other sites the address (which holds the token) or may be
shown in a frame; a page runs nothing and loads nothing, its style is allowed by its hash.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

PIXEL: Final = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAICRAEAOw==")
"""A transparent GIF of one pixel, 43 bytes."""

RETRY_AFTER_S: Final = "10"
_HEADERS: Final = {
    "Cache-Control": "no-store, private",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
}
_PAGE_HEADERS: Final = {
    **_HEADERS,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "interest-cohort=()",
    "Vary": "Accept-Language",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True, slots=True)
class Ready:
    """An answer in the server's own words, made once and said to every request."""

    start: Mapping[str, Any]
    body: Mapping[str, Any]

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer a request."""
        await send(self.start)  # type: ignore[arg-type] # read only
        await send(self.body)  # type: ignore[arg-type]


def _ready(made: Response) -> Ready:
    start = {"type": "http.response.start", "status": made.status_code, "headers": made.raw_headers}
    return Ready(start, {"type": "http.response.body", "body": made.body})


_PIXELS: Final = {status: _ready(Response(PIXEL, status, _HEADERS, "image/gif")) for status in (200, 404)}


def pixel(status: int) -> Ready:
    """The pixel; a wrong token gets it too, so that a broken image is never seen."""
    return _PIXELS[status]


def redirect(location: str) -> Ready:
    """A redirect to ``location``, which must be safe in a header field."""
    return _ready(Response(b"", 302, {**_HEADERS, "Location": location}))


def not_allowed() -> Response:
    """For any method but GET and HEAD."""
    return Response("Method Not Allowed", 405, {**_HEADERS, "Allow": "GET, HEAD"}, "text/plain")


def text(status: int, body: str) -> Response:
    """Plain text, for machines."""
    headers = {**_HEADERS, "Retry-After": RETRY_AFTER_S} if status == 503 else _HEADERS
    return Response(body, status, headers, "text/plain")


def page(status: int, html: str, policy: str, language: str) -> Response:
    """An HTML page under the Content-Security-Policy ``policy``."""
    headers = {**_PAGE_HEADERS, "Content-Security-Policy": policy, "Content-Language": language}
    if status == 503:
        headers["Retry-After"] = RETRY_AFTER_S
    return Response(html, status, headers, "text/html")
