"""The piece of HTML that a tenant puts into a page of their own: a plain form that posts to the tracker.

Promises: it works without a script and without our style; labels belong to their fields, the field for robots is seen
by nobody (nor read out, nor reached by the keyboard), and the words agreed to stand above the button with the number of
their version. Whatever stands in a wording is escaped.
Fails: never.
"""

from collections.abc import Mapping
from html import escape
from typing import Any, Final

_OWN: Final = {
    "ja": {
        "email": "メールアドレス",
        "required": "(必須)",
        "button": "登録する",
        "trap": "この欄には入力しないでください",
    },
    "en": {
        "email": "Email address",
        "required": "(required)",
        "button": "Subscribe",
        "trap": "Please leave this empty",
    },
}
_HIDDEN: Final = "position:absolute;left:-100rem;width:1px;height:1px;overflow:hidden"


def form_url(public_url: str, public_id: str, language: str) -> str:
    """Where a form is, as a page of its own too."""
    return f"{public_url.rstrip('/')}/f/{public_id}?lang={language}"


def embed(form: Mapping[str, Any], language: str, public_url: str) -> str:
    """The HTML of a form in one of its languages."""
    own, wording = _OWN[language], form["wording"][language]
    prefix = f"hb-{form['public_id'][:6]}"
    url = escape(form_url(public_url, form["public_id"], language))
    trap = f'<input id="{prefix}-website" name="website" type="text" tabindex="-1" autocomplete="off">'
    lines = [
        f'<form method="post" action="{url}" lang="{language}" accept-charset="utf-8">',
        f'<input type="hidden" name="version" value="{form["version"]}">',
        _field(prefix, "email", f"{own['email']} {own['required']}",
               'type="email" autocomplete="email" inputmode="email" maxlength="254" required'),
        *(_asked(prefix, field, language) for field in form["fields"]),
        f'<div aria-hidden="true" style="{_HIDDEN}"><label for="{prefix}-website">{own["trap"]}</label>{trap}</div>',
        f'<p style="white-space:pre-line">{escape(wording["consent"])}</p>',
        f'<p><button type="submit">{escape(wording["button"] or own["button"])}</button></p>',
        "</form>",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _asked(prefix: str, field: Mapping[str, Any], language: str) -> str:
    label = field["label"].get(language) or next(iter(field["label"].values()))
    more = 'type="text" maxlength="200"'
    if field["name"] == "name":
        more += ' autocomplete="name"'
    if field["required"]:
        label, more = f"{label} {_OWN[language]['required']}", f"{more} required"
    return _field(prefix, f"field_{field['name']}", label, more)


def _field(prefix: str, name: str, label: str, more: str) -> str:
    key = f"{prefix}-{name}"
    return (
        f'<p><label for="{escape(key)}">{escape(label)}</label><br>'
        f'<input id="{escape(key)}" name="{escape(name)}" {more}></p>'
    )
