"""The mailbox page: received mails with search, each as HTML, text, source and header fields; Japanese and English.

Promises: reads only; nothing of a mail runs or loads by being looked at: its HTML is shown in a frame of its own that
is sandboxed by Content-Security-Policy, without scripts or forms, and without remote images until they are asked for
(the open pixel is one, so looking alone is no open). The page loads nothing from elsewhere.
"""

import time
from collections.abc import Mapping
from importlib.resources import files
from itertools import islice
from typing import Any

from minijinja import Environment
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from services.standalone.sandbox.mailbox import Mailbox, body_text, read_mail
from services.standalone.sandbox.words import WORDS_OF_PAGE
from services.standalone.sandbox.zone import Zone

PER_PAGE = 50
PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; form-action 'self'; base-uri 'none'"
MAIL_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data: {images}; form-action 'none'; "
    "sandbox allow-popups allow-popups-to-escape-sandbox"
)
HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
# Links open in a tab of their own: the mailbox page's frame would not be let go anywhere else.
TARGET = '<base target="_blank" rel="noreferrer">'


def make_app(mailbox: Mailbox, zone: Zone) -> Starlette:
    """The application."""
    pages = Pages(mailbox, zone)
    return Starlette(
        routes=[
            Route("/", pages.index),
            Route("/mails/{mail:int}", pages.mail),
            Route("/mails/{mail:int}/html", pages.html),
            Route("/mails/{mail:int}/source", pages.source),
        ]
    )


class Pages:
    """One method for each page."""

    def __init__(self, mailbox: Mailbox, zone: Zone) -> None:
        """Read the page templates, which are part of the package."""
        self._mailbox = mailbox
        self._zone = zone
        folder = files("services.standalone.sandbox") / "pages"
        templates = {name: (folder / name).read_text(encoding="utf-8") for name in ("list.html", "mail.html")}
        style = (folder / "style.css").read_text(encoding="utf-8")
        self._environment = Environment(templates=templates)
        self._environment.add_global("style", style)
        self._environment.add_filter("moment", _moment)

    async def index(self, request: Request) -> Response:
        """The list, newest first."""
        search = request.query_params.get("q", "")[:200]
        page = _whole(request.query_params.get("page", ""))
        matches = list(islice(self._mailbox.find(search), (page - 1) * PER_PAGE, page * PER_PAGE + 1))
        shown = [_row(entry) for entry in matches[:PER_PAGE]]
        more = len(matches) > PER_PAGE
        return self._page(
            request, "list.html", mails=shown, search=search, page=page, more=more, total=len(self._mailbox)
        )

    async def mail(self, request: Request) -> Response:
        """One mail with everything about it."""
        number = request.path_params["mail"]
        entry, content = self._mailbox.entry(number), self._mailbox.content(number)
        if entry is None or content is None:
            return self._missing()
        message = read_mail(content)
        head = content.partition(b"\r\n\r\n")[0].decode("utf-8", "replace")
        return self._page(
            request,
            "mail.html",
            mail=_row(entry),
            sender=entry.sender,
            server=entry.server,
            peer=entry.peer,
            ehlo=entry.ehlo,
            head=head,
            text=body_text(message, "plain"),
            has_html=bool(body_text(message, "html")),
            images=request.query_params.get("images") == "1",
        )

    async def html(self, request: Request) -> Response:
        """The HTML part alone, for the frame."""
        content = self._mailbox.content(request.path_params["mail"])
        if content is None:
            return self._missing()
        images = "http: https:" if request.query_params.get("images") == "1" else ""
        policy = MAIL_POLICY.format(images=images)
        html = TARGET + body_text(read_mail(content), "html")
        return HTMLResponse(html, headers={**HEADERS, "Content-Security-Policy": policy})

    async def source(self, request: Request) -> Response:
        """The mail as it came over the wire."""
        content = self._mailbox.content(request.path_params["mail"])
        if content is None:
            return self._missing()
        return Response(content, media_type="text/plain; charset=utf-8", headers=HEADERS)

    def _missing(self) -> Response:
        return PlainTextResponse("404: no such mail here\n", 404, headers=HEADERS)

    def _page(self, request: Request, template: str, **values: Any) -> Response:
        language = _language(request)
        other = "en" if language == "ja" else "ja"
        html = self._environment.render_template(
            template, w=WORDS_OF_PAGE[language], language=language, other=other, **values
        )
        headers = {**HEADERS, "Content-Security-Policy": PAGE_POLICY, "Content-Language": language}
        return HTMLResponse(html, headers=headers)


def _row(entry: Any) -> Mapping[str, Any]:
    return {
        "number": entry.mail,
        "at": entry.at,
        "recipient": entry.recipient,
        "header_from": entry.header_from,
        "subject": entry.subject,
        "size_bytes": entry.size_bytes,
    }


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _language(request: Request) -> str:
    """The asked one, else the first of ours that the browser names, else Japanese."""
    wanted = [request.query_params.get("lang", "")]
    wanted += [part.strip()[:2].lower() for part in request.headers.get("accept-language", "").split(",")[:10]]
    return next((name for name in wanted if name in WORDS_OF_PAGE), "ja")


def _whole(text: str) -> int:
    """A page number from 1 to 100,000."""
    return min(max(int(text), 1), 100_000) if text.isascii() and text.isdigit() and len(text) < 7 else 1
