"""Examples of requests and answers; see ``examples``."""

from typing import Any

_AT = "2026-11-24T09:00:00+00:00"
_HASH = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"
_SETTINGS = {
    "consent_policy": "recorded", "frequency_cap_messages": 0, "frequency_cap_days": 7, "same_content_days": 0,
    "approval_above": 10_000, "two_approvals_above": 500_000, "undo_s": 0, "expected_count_percent": 10.0,
    "legal_checks": "warn", "sender_name": "サンプル商事株式会社", "postal_address": "東京都千代田区丸の内1-1-1",
    "contact": "https://shop.example.jp/contact", "quota_per_month": 0, "quota_per_day": 0, "quota_per_s": 0,
    "time_zone": "Asia/Tokyo", "consent_retention_days": 0,
    "changed": ["approval_above", "contact", "postal_address", "sender_name", "two_approvals_above"],
}  # fmt: skip
_LINE = {
    "seq": 1205, "entry_id": 5131, "at": _AT, "actor": "key", "key_id": 7, "user_id": 3, "action": "launchCampaign",
    "object_type": "campaigns", "object_id": "21", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "ip": "192.0.2.40",
    "detail": {"fields": ["expected_count"]}, "hash": _HASH,
}  # fmt: skip

LEGAL_FINDING = {
    "code": "postal_address_missing", "severity": "error", "message_ja": "住所が表示されていません。",
    "message_en": "The mail does not show a postal address.", "pointer": "settings:postal_address",
}  # fmt: skip
"""What the legal checks found, in the answers of a launch and a schedule."""
_APPROVAL = {"hash": _HASH, "key_id": 7, "user_id": 3, "approved_at": _AT, "valid": True, "void_because": None}
_APPROVALS = {
    "campaign_id": 21, "hash": _HASH, "audience": 985, "needed": 1, "missing": 1,
    "says": "Who edited the campaign last has approved it; somebody else has to.",
    "edited_by": {"key_id": 7, "user_id": 3},
    "approvals": [_APPROVAL],
}  # fmt: skip
_QUOTA = {"limit": 200_000, "used": 985, "remaining": 199_015, "resets_at": "2026-11-25T00:00:00+00:00"}

GOVERNANCE_REQUESTS: dict[str, Any] = {
    "approveCampaign": {"hash": _HASH},
    "changeSettings": {
        "approval_above": 10_000, "two_approvals_above": 500_000, "sender_name": "サンプル商事株式会社",
        "postal_address": "東京都千代田区丸の内1-1-1", "contact": "https://shop.example.jp/contact", "undo_s": None,
    },
}  # fmt: skip
GOVERNANCE_ANSWERS: dict[str, Any] = {
    "listApprovals": _APPROVALS,
    "approveCampaign": _APPROVALS,
    "withdrawApproval": {**_APPROVALS, "approvals": [{**_APPROVAL, "valid": False, "void_because": "withdrawn"}]},
    "getQuotas": {
        "day": _QUOTA,
        "month": {**_QUOTA, "limit": None, "remaining": None, "resets_at": "2026-12-01T00:00:00+00:00"},
        "per_s": {"limit": 10},
    },
    "getSettings": _SETTINGS,
    "changeSettings": _SETTINGS,
    "listAudit": {"items": [_LINE], "next_cursor": None},
    "exportAudit": (
        "seq,entry_id,at,actor,key_id,user_id,action,object_type,object_id,trace_id,ip,detail,prev_hash,hash\n"
        "1205,5131,2026-11-24T09:00:00+00:00,key,7,3,launchCampaign,campaigns,21,"
        f'4bf92f3577b34da6a3ce929d0e0e4736,192.0.2.40,"{{""fields"":[""expected_count""]}}",{_HASH},{_HASH}\n'
    ),
    "verifyAudit": {
        "ok": True, "lines": 1205, "head": {"seq": 1205, "hash": _HASH}, "pending": 0,
        "broken": None,
    },
}  # fmt: skip
