"""The pages that people see, from the templates beside this module.

Promises: whatever stands in a name or an address is escaped; a page is complete in itself (no script, font or image),
readable on a phone and by a screen reader, and says in its own language what happened.
Fails: never for a request; a broken template ends the start of the process.
"""

import base64
import hashlib
from importlib.resources import files

from minijinja import Environment
from starlette.requests import Request
from starlette.responses import Response

from hayabin.domain.masking import masked_address
from services.tracker.answers import page
from services.tracker.subscription import Standing
from services.tracker.words import LANGUAGES, WORDS, language_of

_NAMES = ("base.html", "notice.html", "unsubscribe.html")


class Pages:
    """Every page by what it says."""

    def __init__(self) -> None:
        """Read templates and style; the style's hash goes into the policy."""
        folder = files("services.tracker") / "pages"
        style = (folder / "style.css").read_text(encoding="utf-8")
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        self._policy = (
            f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; base-uri 'none'; "
            "frame-ancestors 'none'"
        )
        templates = {name: (folder / name).read_text(encoding="utf-8") for name in _NAMES}
        self._environment = Environment(templates=templates, undefined_behavior="strict")
        self._environment.add_global("style", style)

    def notice(self, request: Request, status: int, what: str) -> Response:
        """A page that only says something: ``bad_link``, ``away``, ``bad_request`` or ``gone``."""
        words = WORDS[self._language(request)]
        title = words["title"] if what == "gone" else words[f"{what}_title"]
        return self._page(request, status, "notice.html", title=title, text=words[what])

    def unsubscribe(self, request: Request, standing: Standing, *, has_list: bool, done: bool) -> Response:
        """The unsubscribe page; ``done`` after a button was pressed."""
        return self._page(
            request,
            200,
            "unsubscribe.html",
            title=WORDS[self._language(request)]["title"],
            tenant=standing.tenant,
            list_name=(standing.list_name or "") if has_list else "",
            address=masked_address(standing.address or ""),
            list_stopped=standing.list_stopped,
            all_stopped=standing.all_stopped,
            done=done,
        )

    def _page(self, request: Request, status: int, name: str, **values: object) -> Response:
        language = self._language(request)
        other = next(tag for tag in LANGUAGES if tag != language)
        html = self._environment.render_template(name, w=WORDS[language], language=language, other=other, **values)
        return page(status, html, self._policy, language)

    @staticmethod
    def _language(request: Request) -> str:
        asked = request.query_params.get("lang", "")
        return language_of(asked, request.headers.get("accept-language", ""))
