"""Examples of requests and answers about attributes, stages, history and duplicates of contacts; see ``examples``."""

from typing import Any

_AT = "2026-11-24T09:00:00+00:00"
_LIMITS: dict[str, Any] = {"max_chars": 40, "max_items": 100, "minimum": None, "maximum": None, "allowed": []}
_ATTRIBUTE = {
    "name": "phone", "type": "string", "personal": True, **_LIMITS, "label_ja": "電話番号", "label_en": "Phone",
    "created_at": _AT, "updated_at": _AT,
}  # fmt: skip
_STAGES = {"names": ["見込み", "見積", "成約"]}
CONTACT: dict[str, Any] = {
    "id": 17,
    "email": "a..b@docomo.ne.jp",
    "name": "田中 花子",
    "locale": "ja",
    "stage": "見積",
    "time_zone": "Asia/Tokyo",
    "flags": [],
    "attributes": {"company": "サンプル商事", "phone": "03-0000-0000"},
    "created_at": _AT,
    "updated_at": _AT,
}
_OTHER = {**CONTACT, "id": 18, "email": "a..b+2@docomo.ne.jp", "name": "田中花子"}
_CHANGE = {
    "id": 204, "at": _AT, "actor": "key:3", "source": "api", "field": "stage", "old": "見込み", "new": "見積",
}  # fmt: skip

CONTACTS_REQUESTS: dict[str, Any] = {
    "upsertContact": {name: CONTACT[name] for name in ("email", "name", "stage", "time_zone", "attributes")},
    "changeContact": {"name": "田中 華子", "stage": "成約", "attributes": {"company": None}},
    "mergeContacts": {"from": 18},
    "createAttribute": {
        "name": "phone",
        "type": "string",
        "personal": True,
        "max_chars": 40,
        "label_ja": "電話番号",
        "label_en": "Phone",
    },
    "changeAttribute": {"max_chars": 20, "label_en": "Telephone"},
    "replaceStages": _STAGES,
}
CONTACTS_ANSWERS: dict[str, Any] = {
    "upsertContact": CONTACT,
    "listContacts": {"items": [CONTACT], "next_cursor": None},
    "getContact": CONTACT,
    "changeContact": {
        **CONTACT,
        "name": "田中 華子",
        "stage": "成約",
        "attributes": {"phone": "03-0000-0000"},
    },
    "listContactChanges": {"items": [_CHANGE], "next_cursor": None},
    "listDuplicates": {"items": [{"contacts": 2, "items": [CONTACT, _OTHER]}], "next_cursor": None},
    "mergeContacts": CONTACT,
    "createAttribute": _ATTRIBUTE,
    "listAttributes": {"items": [_ATTRIBUTE], "next_cursor": None},
    "getAttribute": _ATTRIBUTE,
    "changeAttribute": {**_ATTRIBUTE, "max_chars": 20, "label_en": "Telephone"},
    "deleteAttribute": None,
    "listStages": _STAGES,
    "replaceStages": _STAGES,
}
