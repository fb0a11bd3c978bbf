"""The pages that people see, from the templates beside this module.

Promises: whatever stands in a name or an address is escaped; a page is complete in itself (no script, font or image),
readable on a phone and by a screen reader, and says in its own language what happened.
Fails: never for a request; a broken template ends the start of the process.
"""

import base64
import hashlib
from collections.abc import Mapping
from datetime import timedelta, timezone
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from minijinja import Environment
from starlette.requests import Request
from starlette.responses import Response

from hayabin.database.confirming import Confirmation
from hayabin.database.preferences import Preferences
from hayabin.database.unsubscribing import Standing
from hayabin.domain.masking import masked_address
from services.tracker.answers import page
from services.tracker.words import LANGUAGES, WORDS, language_of

if TYPE_CHECKING:
    from services.tracker.preference_centre import Deed
    from services.tracker.sign_up import Problems

_NAMES: Final = (
    "base.html", "notice.html", "unsubscribe.html", "sign_up.html", "confirm.html", "confirmed.html", "preferences.html"
)  # fmt: skip
_ZONE: Final = timezone(timedelta(hours=9))
"""Dates on pages are those of Japan, as the tenants are."""


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
        """A page that only says something, such as ``bad_link`` or ``away``."""
        words = WORDS[self.language(request)]
        title = words["title"] if what == "gone" else words[f"{what}_title"]
        return self._page(request, status, "notice.html", title=title, text=words[what])

    def unsubscribe(self, request: Request, standing: Standing, *, has_list: bool, done: bool) -> Response:
        """The unsubscribe page; ``done`` after a button was pressed."""
        return self._page(
            request,
            200,
            "unsubscribe.html",
            title=WORDS[self.language(request)]["title"],
            tenant=standing.tenant,
            list_name=(standing.list_name or "") if has_list else "",
            address=masked_address(standing.address or ""),
            list_stopped=standing.list_stopped,
            all_stopped=standing.all_stopped,
            done=done,
            preferences="../p/" + request.path_params["token"],
        )

    def sign_up(self, request: Request, form: Any, filled: Mapping[str, str], problems: "Problems") -> Response:
        """A sign-up form: empty, or as it was filled in with what is wrong."""
        language = self.language_of_form(request, form)
        wording = form["wording_shown"][language]
        wrong = {name: WORDS[language][word] for name, word in problems.by_field.items()}
        fields = [
            {
                "name": f"field_{field['name']}",
                "label": field["label"].get(language) or next(iter(field["label"].values())),
                "required": field["required"],
                "is_name": field["name"] == "name",
                "value": filled.get(f"field_{field['name']}", "")[:200],
                "problem": wrong.get(f"field_{field['name']}", ""),
            }
            for field in form["fields_shown"]
        ]
        return self._page(
            request,
            422 if wrong else 200,
            "sign_up.html",
            language=language,
            languages=[tag for tag in LANGUAGES if tag in form["wording_shown"]],
            referrer="same-origin",
            title=wording["title"],
            tenant=form["tenant"],
            wording=wording,
            version=form["number"],
            fields=fields,
            email=filled.get("email", "")[:400],
            wrong=bool(wrong),
            email_problem=wrong.get("email", ""),
        )

    def signed_up(self, request: Request, form: Any) -> Response:
        """The answer to every sign-up."""
        language = self.language_of_form(request, form)
        words, wording = WORDS[language], form["wording_shown"][language]
        said = wording["thanks"] or words["asked" if form["double_opt_in"] else "taken"]
        return self._page(
            request, 200, "notice.html", language=language, languages=(), title=words["asked_title"], text=said
        )

    def confirm(self, request: Request, asked: Confirmation) -> Response:
        """The page of a confirmation's link, with its button."""
        words, row = WORDS[self.language(request)], asked.row
        return self._page(
            request,
            200,
            "confirm.html",
            title=words[f"confirm_{row['kind']}_title"],
            question=words[f"confirm_{row['kind']}"],
            button=words[f"confirm_{row['kind']}_button"],
            tenant=row["tenant"],
            address=masked_address(row["wire"]),
            topics=list(row["topics"]),
            consent=_consent_of(row, self.language(request)),
        )

    def confirmed(self, request: Request, asked: Confirmation) -> Response:
        """The thanks for a confirmation."""
        words = WORDS[self.language(request)]
        return self._page(
            request,
            200,
            "confirmed.html",
            title=words["confirmed_title"],
            text=words[f"confirmed_{asked.row['kind']}"],
            topics=list(asked.row["topics"]),
        )

    def preferences(
        self, request: Request, standing: Preferences, *, done: "Deed | None" = None, bad_address: str | None = None
    ) -> Response:
        """The preference centre; ``done`` says which button was pressed, ``bad_address`` what is no address."""
        language = self.language(request)
        paused = standing.paused_until.astimezone(_ZONE) if standing.paused_until else None
        return self._page(
            request,
            200 if bad_address is None else 422,
            "preferences.html",
            title=WORDS[language]["preferences_title"],
            tenant=standing.tenant,
            address=masked_address(standing.wire),
            topics=[{"id": t.id, "name": t.name, "description": t.description, "on": t.subscribed}
                    for t in standing.topics],
            paused_until=f"{paused:%Y-%m-%d}" if paused else "",
            all_stopped=standing.all_stopped,
            mail_language=standing.locale.partition("-")[0] if standing.locale else "ja",
            done=WORDS[language][f"done_{done}"] if done else "",
            bad_address=(bad_address or "")[:400],
            problem="" if bad_address is None else WORDS[language]["address_invalid"],
        )  # fmt: skip

    def _page(
        self,
        request: Request,
        status: int,
        name: str,
        *,
        language: str = "",
        languages: tuple[str, ...] | list[str] = LANGUAGES,
        referrer: str = "no-referrer",
        **values: object,
    ) -> Response:
        language = language or self.language(request)
        other = next((tag for tag in languages if tag != language), "")
        html = self._environment.render_template(name, w=WORDS[language], language=language, other=other, **values)
        answer = page(status, html, self._policy, language)
        answer.headers["Referrer-Policy"] = referrer
        return answer

    @staticmethod
    def language(request: Request) -> str:
        """The language that a page is in."""
        asked = request.query_params.get("lang", "")
        return language_of(asked, request.headers.get("accept-language", ""))

    def language_of_form(self, request: Request, form: Any) -> str:
        """The same for a form, which may have words in one language only."""
        language = self.language(request)
        shown = form["wording_shown"]
        return language if language in shown else next(tag for tag in LANGUAGES if tag in shown)


def _consent_of(row: Mapping[str, Any], language: str) -> str:
    """The words that somebody agreed to when they signed up."""
    wording = row["wording"] or {}
    return str((wording.get(row["locale"]) or wording.get(language) or {}).get("consent", ""))
