"""Examples of requests and answers; see ``examples``."""

from typing import Any

_AT = "2026-11-24T09:00:00+00:00"
_WORDING = {
    "ja": {
        "title": "メールマガジン登録",
        "intro": "新商品とセールのお知らせを月に2回お送りします。",
        "consent": "「登録する」を押すと、サンプル商事からの広告メールの受信に同意したものとします。"
        "配信はいつでも停止できます。",
        "button": "登録する",
        "thanks": "",
    }
}
_FORM = {
    "name": "shop footer",
    "list_ids": [3],
    "double_opt_in": True,
    "fields": [{"name": "name", "label": {"ja": "お名前", "en": "Name"}, "required": False}],
    "wording": _WORDING,
    "from_name": "サンプル商事",
    "from_address": "news@mail.example.jp",
    "reply_to": "",
    "pool": "main",
    "template_version_ids": {},
    "allowed_origins": ["https://www.example.jp"],
    "per_ip_per_hour": 20,
    "per_address_per_day": 3,
    "per_form_per_hour": 1000,
}
_STORED = {
    "id": 8, "public_id": "Vb3kq0p9TfW1mXyZ8aBc2A", "version": 1, **_FORM, "domain_id": 2, "created_at": _AT,
    "updated_at": _AT,
}  # fmt: skip
_VERSION = {
    "number": 1, "list_ids": [3], "double_opt_in": True, "fields": _FORM["fields"], "wording": _WORDING,
    "created_at": _AT,
}  # fmt: skip

SIGN_UP_REQUESTS: dict[str, Any] = {
    "createForm": _FORM,
    "changeForm": {"wording": {"ja": {**_WORDING["ja"], "intro": "月に1回お送りします。"}}},
}
SIGN_UP_ANSWERS: dict[str, Any] = {
    "createForm": _STORED,
    "listForms": {"items": [_STORED], "next_cursor": None},
    "getForm": _STORED,
    "changeForm": {**_STORED, "version": 2},
    "deleteForm": None,
    "listFormVersions": {"items": [_VERSION], "next_cursor": None},
    "embedForm": {
        "language": "ja",
        "version": 1,
        "url": "https://links.example.jp/f/Vb3kq0p9TfW1mXyZ8aBc2A?lang=ja",
        "html": '<form method="post" action="https://links.example.jp/f/Vb3kq0p9TfW1mXyZ8aBc2A?lang=ja" …',
    },
}
