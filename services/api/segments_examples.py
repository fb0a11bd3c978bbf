"""Examples of requests and answers; see ``examples``."""

from typing import Any

_AT = "2026-11-24T09:00:00+00:00"
_RULES = {
    "all": [
        {"field": "stage", "is": "in", "value": ["見積", "成約"]},
        {"attribute": "company", "is": "is_set"},
        {
            "any": [
                {"activity": "opened", "is": "within_last_days", "value": 30},
                {"activity": "received", "is": "not_within_last_days", "value": 90},
            ]
        },
        {"not": {"field": "flags", "is": "contains_any", "value": ["role"]}},
    ]
}
_SEGMENT = {
    "id": 6, "name": "active", "description": "見積以降で、最近の開封あり", "rules": _RULES, "created_at": _AT,
    "updated_at": _AT,
}  # fmt: skip
_PERSON = {
    "contact_id": 17, "email": "a..b@docomo.ne.jp", "name": "田中 花子", "locale": "ja", "stage": "見積",
    "attributes": {"company": "サンプル商事"},
}  # fmt: skip
AUDIENCE = {
    "audience": 985, "will_get": 979, "excluded": 12, "unsubscribed": 0, "erased": 0, "suppressed": 4, "no_consent": 0,
    "same_content": 0, "frequency_cap": 2, "included_by": [{"kind": "list", "id": 3, "people": 990}],
    "overlaps": [{"of": [{"kind": "list", "id": 3}, {"kind": "segment", "id": 6}], "people": 310}],
    "excluded_by": [{"kind": "campaign", "id": 20, "people": 12}],
}  # fmt: skip

SEGMENTS_REQUESTS: dict[str, Any] = {
    "createSegment": {"name": _SEGMENT["name"], "description": _SEGMENT["description"], "rules": _RULES},
    "changeSegment": {"description": "見積以降"},
    "previewSegment": {"rules": _RULES},
    "previewAudience": {"reason": "will_get"},
}
SEGMENTS_ANSWERS: dict[str, Any] = {
    "createSegment": _SEGMENT,
    "listSegments": {"items": [_SEGMENT], "next_cursor": None},
    "getSegment": {**_SEGMENT, "used_by": [{"kind": "campaign", "id": 21, "name": "November"}]},
    "changeSegment": {**_SEGMENT, "description": "見積以降"},
    "deleteSegment": None,
    "previewSegment": {"count": 310, "sample": [_PERSON]},
    "countSegment": {"segment_id": 6, "count": 310},
    "listSegmentContacts": {"items": [_PERSON], "next_cursor": None},
    "previewAudience": {
        "items": [{"contact_id": 17, "email": "a..b@docomo.ne.jp", "name": "田中 花子", "reason": "will_get"}],
        "next_cursor": None,
    },
}
