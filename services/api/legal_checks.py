"""What the law wants shown in a bulk mail, looked for in a campaign before it is sent.

Promises: ``findings`` reads the campaign's template version, domain and the tenant's settings, never its audience, so
that a launch to a million takes no longer; ``audience_findings`` counts who is in the audience without evidence of
consent. Both say in Japanese and English what is missing and what to do. Only bulk mail is looked at: mail about an
order is not advertising. No finding does not mean that a mail is lawful; nobody but a lawyer can say that.
Fails: database errors come out.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from html import unescape
from typing import Any

from hayabin.content.compiled import CompiledTemplate
from hayabin.content.markup import MarkupToken, TokenKind, read_markup
from hayabin.domain.campaign import MessageClass
from hayabin.domain.legal_display import (
    LINK_MARK,
    UNSUBSCRIBE_MARK,
    DisplayItem,
    Sender,
    missing,
    statement_is_near,
)
from hayabin.domain.tenant_settings import TenantSettings
from services.api.access import Db
from services.api.legal_words import MISSING, OTHER, PART

_UNSUBSCRIBE = re.compile(r"\{\{[^{}]*\bunsubscribe_url\b[^{}]*\}\}")
_TRACKED = re.compile(r"\{\{[^{}]*\b_hb_(?:track|link)\b[^{}]*\}\}(?:/\d+)?")
_EXPRESSION = re.compile(r"\{[{%#].*?[}%#]\}", re.DOTALL)
_UNSEEN_TAGS = frozenset({"head", "style", "script", "title"})
_LINE_TAGS = frozenset({"br", "p", "div", "tr", "td", "li", "table", "h1", "h2", "h3", "h4", "hr", "ul", "ol"})

_CAMPAIGN_SQL = """
SELECT v.compiled, d.name AS domain, d.verified_at, t.settings
FROM tenants t, template_versions v JOIN templates m ON m.id = v.template_id, domains d
WHERE t.id = (SELECT tenant_id FROM campaigns WHERE id = $1) AND v.id = $2 AND m.tenant_id = t.id
  AND d.id = $3 AND d.tenant_id = t.id"""


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """What the law asks for is not in the mail; the setting ``legal_checks: block`` refuses the launch."""
    WARNING = "warning"
    """Somebody should look; refuses nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is missing or doubtful, in words for people."""

    code: str
    severity: Severity
    message_ja: str
    message_en: str
    pointer: str
    """RFC 6901, where to mend it: in the campaign, its template or the tenant's settings."""


async def findings(db: Db, campaign: Mapping[str, Any]) -> list[Finding]:
    """What is missing in a campaign (a row of ``campaigns``, as the API shows it); nothing for transactional mail."""
    if campaign["class"] != MessageClass.BULK or campaign["kind"] != "campaign":
        return []
    row = await db.fetchrow(_CAMPAIGN_SQL, campaign["id"], campaign["template_version_id"], campaign["domain_id"])
    if row is None:
        return []
    settings = TenantSettings.of(row["settings"])
    compiled = CompiledTemplate.from_json(row["compiled"])
    found = await asyncio.to_thread(lambda: list(_of_content(compiled, settings, campaign["from_name"])))
    if not settings.sender_name:
        found.append(_other("sender_name_not_set", "/settings/sender_name", name=campaign["from_name"]))
    if row["verified_at"] is None:
        found.append(_other("unverified_domain", "/campaign/from_address", domain=row["domain"]))
    return found


def audience_findings(counts: Mapping[str, Any]) -> list[Finding]:
    """What the counts of an audience say about consent; counted as if the tenant required it, since the law does."""
    without = int(counts.get("no_consent", 0))
    return [_other("members_without_consent", "/campaign/audience", count=without)] if without else []


def _of_content(compiled: CompiledTemplate, settings: TenantSettings, from_name: str) -> Iterator[Finding]:
    sender = Sender(
        name=settings.sender_name or from_name,
        postal_address=settings.postal_address,
        contact=settings.contact,
    )
    parts = {} if compiled.html is None else {"html": visible_text(compiled.html)}
    parts["text"] = _marked(compiled.text)
    lacking = {part: missing(text, sender) for part, text in parts.items()}
    for part, text in parts.items():
        for item in DisplayItem:
            if item in lacking[part]:
                yield _missing(item, part, sender, main=part == next(iter(parts)) or item in lacking["html"])
        opt_out = {DisplayItem.OPT_OUT_PLACE, DisplayItem.OPT_OUT_STATEMENT}
        if not opt_out & lacking[part] and not statement_is_near(text):
            yield _other("opt_out_statement_far", f"/template/{part}", part=part)


def _missing(item: DisplayItem, part: str, sender: Sender, *, main: bool) -> Finding:
    """An error in the part that most people see, or in both; a warning where the text part alone lacks it."""
    words = MISSING[item]
    return Finding(
        code=f"{item}_missing",
        severity=Severity.ERROR if main else Severity.WARNING,
        message_ja=words.ja.format(part=PART[part].ja, name=sender.name),
        message_en=_sentence(words.en.format(part=PART[part].en, name=sender.name)),
        pointer=f"/template/{part}",
    )


def _other(code: str, pointer: str, *, part: str = "", **values: object) -> Finding:
    words = OTHER[code]
    return Finding(
        code=code,
        severity=Severity.WARNING,
        message_ja=words.ja.format(part=PART[part].ja, **values),
        message_en=_sentence(words.en.format(part=PART[part].en, **values)),
        pointer=pointer,
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def visible_text(html: str) -> str:
    """What a reader of an HTML part sees, with a mark where each link is."""
    seen: list[str] = []
    unseen = 0
    for token in read_markup(html):
        match token.kind:
            case TokenKind.START if token.name in _UNSEEN_TAGS and not token.closed:
                unseen += 1
            case TokenKind.END if token.name in _UNSEEN_TAGS:
                unseen = max(unseen - 1, 0)
            case TokenKind.START | TokenKind.END:
                seen.append(_mark_of(token))
            case TokenKind.TEXT if not unseen:
                seen.append(unescape(_marked(html[token.start : token.end])))
            case _:
                pass
    return "".join(seen)


def _mark_of(token: MarkupToken) -> str:
    """What stands in the text for a tag."""
    href = token.attribute("href") if token.kind is TokenKind.START and token.name == "a" else None
    if href is not None:
        return UNSUBSCRIBE_MARK if _UNSUBSCRIBE.search(href.value) else LINK_MARK
    return "\n" if token.name in _LINE_TAGS else ""


def _marked(text: str) -> str:
    """A text of a template with marks for links, and nothing for the other expressions in it."""
    linked = _TRACKED.sub(LINK_MARK, _UNSUBSCRIBE.sub(UNSUBSCRIBE_MARK, text))
    return _EXPRESSION.sub("", linked)
