"""The mails that Hayabin itself has words for: where a tenant has no template of its own for them.

Promises: a built-in mail is a published template of the tenant like any other, made the first time that it is needed,
so renderer and reports know nothing special of it; it has no pixel and no tracked link. A change of the words below
needs a new number in ``BuiltIn``, as a published version never changes.
Fails: database errors as they are.
"""

from enum import StrEnum
from typing import Final

from hayabin.content.compiled import CompiledTemplate, TemplateKind
from hayabin.database.engine import Connection


class BuiltIn(StrEnum):
    """Which mail; the value is a part of its template's name."""

    SIGN_UP = "confirm-sign-up-1"
    ADDRESS = "confirm-address-1"
    ADDRESS_CHANGED = "address-changed-1"
    """To the old address; nobody is asked anything."""


_SUBJECT: Final = {
    (BuiltIn.SIGN_UP, "ja"): "メール配信のご登録の確認({{ sender }})",
    (BuiltIn.SIGN_UP, "en"): "Please confirm your subscription ({{ sender }})",
    (BuiltIn.ADDRESS, "ja"): "メールアドレス変更の確認({{ sender }})",
    (BuiltIn.ADDRESS, "en"): "Please confirm your new address ({{ sender }})",
    (BuiltIn.ADDRESS_CHANGED, "ja"): "メールのお届け先が変更されました({{ sender }})",
    (BuiltIn.ADDRESS_CHANGED, "en"): "The address for our mails was changed ({{ sender }})",
}
_PARAGRAPHS: Final = {
    (BuiltIn.SIGN_UP, "ja"): (
        "{{ sender }} のメール配信に、このアドレスでご登録のお申し込みがありました。",
        "配信内容: {{ topics }}",
        "登録を完了するには、7日以内に下のページを開き、「登録する」ボタンを押してください。",
        "お心当たりがない場合は、このメールを破棄してください。何もなさらなければ登録されず、配信も始まりません。",
    ),
    (BuiltIn.SIGN_UP, "en"): (
        "Somebody, hopefully you, asked {{ sender }} to send mails to this address.",
        "Topics: {{ topics }}",
        "To confirm, open the page below within 7 days and press its button.",
        "If it was not you, ignore this mail. Without your confirmation nothing will be sent.",
    ),
    (BuiltIn.ADDRESS, "ja"): (
        "{{ sender }} からのメールのお届け先を、このアドレスへ変更するお申し込みがありました。",
        "変更を完了するには、7日以内に下のページを開き、「変更する」ボタンを押してください。",
        "お心当たりがない場合は、このメールを破棄してください。何もなさらなければ変更されません。",
    ),
    (BuiltIn.ADDRESS, "en"): (
        "Somebody, hopefully you, asked {{ sender }} to send their mails to this address from now on.",
        "To confirm, open the page below within 7 days and press its button.",
        "If it was not you, ignore this mail. Without your confirmation nothing changes.",
    ),
    (BuiltIn.ADDRESS_CHANGED, "ja"): (
        "{{ sender }} からのメールのお届け先が、このアドレスから {{ new_address }} に変更されました。",
        "お申し込み: {{ asked_at }}、メールのリンクから開く配信設定ページ",
        "変更: {{ changed_at }}、新しいアドレスにお送りした確認のページ",
        "お心当たりがない場合は、メールのリンクが他の方に渡ったおそれがあります。{{ sender }} へご返信ください。",
    ),
    (BuiltIn.ADDRESS_CHANGED, "en"): (
        "The mails of {{ sender }} go to {{ new_address }} from now on, and no longer to this address.",
        "Asked for: {{ asked_at }}, on the preference page that the link in our mails opens",
        "Changed: {{ changed_at }}, on the page of the mail that we sent to the new address",
        "If it was not you, somebody else may have got hold of a link in a mail. Please reply and tell {{ sender }}.",
    ),
}
_FIELDS: Final = {
    BuiltIn.SIGN_UP: {"sender", "topics", "confirm_url"},
    BuiltIn.ADDRESS: {"sender", "confirm_url"},
    BuiltIn.ADDRESS_CHANGED: {"sender", "new_address", "asked_at", "changed_at"},
}
_BUTTON: Final = {"ja": "確認のページを開く", "en": "Open the page"}
_STYLE: Final = (
    "font-family:sans-serif;font-size:16px;line-height:1.7;color:#1a1d21;max-width:560px;margin:0 auto;padding:24px"
)
_LINK_STYLE: Final = (
    "display:inline-block;padding:12px 20px;background:#0b5cad;color:#ffffff;border-radius:6px;font-weight:bold"
)

_TEMPLATE_SQL = """
INSERT INTO templates (tenant_id, name) VALUES ($1, $2)
ON CONFLICT (tenant_id, name) DO UPDATE SET name = excluded.name RETURNING id"""

_VERSION_SQL = """
INSERT INTO template_versions (template_id, number, kind, subject, source, text_source, compiled, published_at)
VALUES ($1, 1, $2, $3, $4, $5, $6, now())
ON CONFLICT (template_id, number) DO UPDATE SET number = excluded.number RETURNING id"""

_FIND_SQL = """
SELECT v.id FROM templates t JOIN template_versions v ON v.template_id = t.id AND v.number = 1
WHERE t.tenant_id = $1 AND t.name = $2"""


def compiled(mail: BuiltIn, locale: str) -> CompiledTemplate:
    """A built-in mail; Japanese where its words are not there in ``locale``."""
    language = locale if locale in _BUTTON else "ja"
    *paragraphs, last = _PARAGRAPHS[mail, language]
    asks = "confirm_url" in _FIELDS[mail]
    link = f'<a href="{{{{ confirm_url }}}}" style="{_LINK_STYLE}">{_BUTTON[language]}</a>'
    body = "".join(f"<p>{paragraph}</p>" for paragraph in (*paragraphs, *([link] if asks else []), last))
    return CompiledTemplate(
        kind=TemplateKind.HTML,
        subject=_SUBJECT[mail, language],
        html=f'<!doctype html><html lang="{language}"><head><meta charset="utf-8"><title></title></head>'
        f'<body><div style="{_STYLE}">{body}</div></body></html>',
        text="\n\n".join((*paragraphs, *(["{{ confirm_url }}"] if asks else []), last)) + "\n",
        links=(),
        fields=frozenset(_FIELDS[mail]),
    )


async def version_of(connection: Connection, tenant_id: int, mail: BuiltIn, locale: str) -> int:
    """The id of the template version that a tenant has for a built-in mail."""
    language = locale if locale in _BUTTON else "ja"
    name = f"hayabin {mail} ({language})"
    found: int | None = await connection.fetchval(_FIND_SQL, tenant_id, name)
    if found is not None:
        return found
    content = compiled(mail, language)
    template_id = await connection.fetchval(_TEMPLATE_SQL, tenant_id, name)
    made: int = await connection.fetchval(
        _VERSION_SQL, template_id, content.kind.value, content.subject, content.html, content.text, content.to_json()
    )
    return made
