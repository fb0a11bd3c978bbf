"""Examples of requests and answers; see ``examples``."""

from typing import Any

_AT = "2026-11-24T09:00:00+00:00"
_CONSENT = {
    "id": 501, "contact_id": 17, "email": "a..b@docomo.ne.jp", "erased": False, "list_id": 3, "action": "opt_in",
    "basis": "form", "source": "form:2", "wording": "2:v3", "ip": "192.0.2.7", "user_agent": "Mozilla/5.0", "note": "",
    "occurred_at": _AT, "recorded_at": _AT,
}  # fmt: skip
_PLATFORM = {
    "email": "@example.org", "erased": False, "list_id": 0, "scope": "platform", "reason": "complaint",
    "source": "api", "created_at": _AT, "expires_at": None,
}  # fmt: skip

CONSENT_REQUESTS: dict[str, Any] = {
    "changeList": {"public": True, "public_name": "お得な情報"},
    "recordConsent": {
        "contact_id": 17,
        "list_id": 3,
        "action": "opt_in",
        "basis": "written",
        "note": "申込書 2026-041",
        "occurred_at": "2026-11-20T10:00:00+09:00",
    },
    "changeSuppression": {"expires_at": "2099-12-31T00:00:00+09:00"},
    "suppressForAll": {"domains": ["example.org"], "reason": "complaint"},
    "changePlatformSuppression": {"expires_at": None},
}
CONSENT_ANSWERS: dict[str, Any] = {
    "changeList": {
        "id": 3, "name": "newsletter", "description": "月刊", "public": True, "public_name": "お得な情報",
        "created_at": _AT,
    },
    "deleteList": None,
    "listSubscriptions": {
        "contact_id": 17,
        "subscriptions": [
            {"list_id": 3, "list": "newsletter", "state": "subscribed", "consent": "form", "updated_at": _AT}
        ],
        "history": [
            {
                "list_id": 3, "was": "pending", "state": "subscribed", "action": "confirm", "source": "form:2",
                "changed_at": _AT,
            }
        ],
    },
    "listConsents": {"items": [_CONSENT], "next_cursor": None},
    "exportConsents": "id,contact_id,email,erased,list_id,action,basis,source,wording,ip,user_agent,note,occurred_at,"
    "recorded_at\n501,17,a..b@docomo.ne.jp,false,3,opt_in,form,form:2,2:v3,192.0.2.7,Mozilla/5.0,,"
    "2026-11-24T09:00:00+00:00,2026-11-24T09:00:00+00:00\n",
    "recordConsent": {"contact_id": 17, "list_id": 3, "moved": True, "state": "subscribed"},
    "changeSuppression": {
        "email": "b@example.net", "erased": False, "list_id": 0, "scope": "tenant", "reason": "manual",
        "source": "api", "created_at": _AT, "expires_at": "2099-12-30T15:00:00+00:00",
    },
    "suppressForAll": {"added": 1, "known": 0},
    "listPlatformSuppressions": {"items": [_PLATFORM], "next_cursor": None},
    "changePlatformSuppression": _PLATFORM,
    "unsuppressForAll": None,
}  # fmt: skip
