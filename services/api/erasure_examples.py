"""Examples of requests and answers; see ``examples``."""

from typing import Any

_AT = "2026-11-24T09:00:00+00:00"
_HASH = "5f0c9a3be2d14f6f8c7f0a3a4f5f2f0d1d6f1b9be25a3b7f0a7e1c2d3b4a5968"
_JOB = {
    "id": 7, "kind": "erase", "state": "queued", "address_hash": _HASH, "reason": "request 2026-114", "error": None,
    "created_at": _AT, "started_at": None, "finished_at": None, "expires_at": None,
}  # fmt: skip
_DONE = {**_JOB, "state": "completed", "started_at": _AT, "finished_at": _AT}
_EXPORT = {**_JOB, "id": 8, "kind": "export", "reason": ""}
_CERTIFICATE = {
    "format": "hayabin.erasure-certificate/1",
    "job_id": 7,
    "address_hash": _HASH,
    "requested_at": _AT,
    "started_at": _AT,
    "finished_at": _AT,
    "tables": [{"table": "contacts", "erased": 1, "anonymised": 0}],
    "kept": [
        {
            "what": "erased_addresses, suppressions",
            "form": "keyed hash of the address (SHA-256 with a random key of this tenant)",
            "basis_en": "So that the person is not mailed again by a later import …",
            "basis_ja": "後日の取り込みで再び送信しないため …",
        }
    ],
    "not_reached": [{"what": "queues of the message broker", "en": "Mails rendered before …", "ja": "消去前に …"}],
    "sha256": "9b74c9897bac770ffc029102a200c5de3d6c2f9b4f0a7e1c2d3b4a59685f0c9a",
}
_EXPORTED = {
    "format": "hayabin.person-export/1",
    "made_at": _AT,
    "emails": ["hanako@example.jp"],
    "contacts": [
        {
            "id": 17, "email": "hanako@example.jp", "name": "田中 花子", "locale": "ja", "time_zone": "", "stage": "",
            "flags": [], "attributes": {"company": "サンプル商事"}, "created_at": _AT, "updated_at": _AT,
        }
    ],
    "contact_history": [],
    "activity": [],
    "subscriptions": [
        {"list_id": 3, "list": "newsletter", "state": "subscribed", "consent": "form", "updated_at": _AT}
    ],
    "subscription_history": [],
    "consents": [],
    "suppressions": [],
    "sign_ups": [],
    "messages": [
        {
            "id": 1001, "campaign_id": 21, "campaign": "November", "subject": "{{ name }} 様、今月のお知らせ",
            "recipient": "hanako@example.jp", "name": "田中 花子", "variables": {"name": "田中 花子"},
            "state": "accepted", "reason": None, "attempts_begun": 1, "changed_at": _AT, "attempts": [], "events": [],
        }
    ],
    "messages_left_out": 0,
}  # fmt: skip
_FINDING = {
    "code": "postal_address_missing",
    "severity": "error",
    "message_ja": "HTML本文に送信者の住所が見つかりません。…",
    "message_en": "No postal address of the sender was found in the HTML part. …",
    "pointer": "/template/html",
}

ERASURE_REQUESTS: dict[str, Any] = {
    "erasePerson": {"email": "taro.erased@example.jp", "reason": "request 2026-114"},
    "exportPerson": {"email": "hanako@example.jp"},
}
ERASURE_ANSWERS: dict[str, Any] = {
    "erasePerson": _JOB,
    "exportPerson": _EXPORT,
    "listPersonJobs": {"items": [_DONE], "next_cursor": None},
    "getPersonJob": _DONE,
    "getErasureCertificate": _CERTIFICATE,
    "getErasureCertificateText": "消去証明書\n\nジョブ: 7\n…\n",
    "downloadPersonExport": _EXPORTED,
    "checkCampaign": {
        "campaign_id": 21,
        "errors": 1,
        "warnings": 0,
        "findings": [_FINDING],
        "note": {"ja": "法的助言ではありません。…", "en": "Not legal advice. …"},
    },
}
