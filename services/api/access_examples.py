"""Examples of requests and answers; see ``examples``."""

from typing import Any

from hayabin.domain.roles import RIGHTS, Role

_AT = "2026-11-24T09:00:00+00:00"
_END = "2027-11-24T09:00:00+00:00"
_EDITOR = sorted(RIGHTS[Role.EDITOR])
_USER_FORM = {"email": "hanako@example.jp", "name": "田中 花子", "role": "editor"}
_USER = {"id": 6, **_USER_FORM, "state": "active", "created_at": _AT, "last_seen_at": None, "scopes": _EDITOR}
_KEY_FORM = {
    "name": "shop",
    "scopes": ["contacts:read", "contacts:write"],
    "cidrs": ["192.0.2.0/24", "2001:db8::/48"],
    "expires_at": "2099-11-24T18:00:00+09:00",
}
_KEY = {
    "id": 8, **_KEY_FORM, "prefix": "hyb_k3v9x0q2m7ab", "user_id": None, "state": "valid", "created_at": _AT,
    "expires_at": "2099-11-24T09:00:00+00:00", "revoked_at": None, "last_used_at": None, "last_used_from": None,
    "replaces": None,
}  # fmt: skip
_SHOWN = "hyb_k3v9x0q2m7ab_…"


def _page(*items: dict[str, Any]) -> dict[str, Any]:
    return {"items": list(items), "next_cursor": None}


ACCESS_REQUESTS: dict[str, Any] = {
    "createUser": _USER_FORM,
    "changeUser": {"role": "sender"},
    "createApiKey": _KEY_FORM,
    "rotateApiKey": {"overlap_s": 3600},
}
ACCESS_ANSWERS: dict[str, Any] = {
    "createUser": _USER,
    "listUsers": _page({**_USER, "last_seen_at": _AT}),
    "getUser": {**_USER, "last_seen_at": _AT},
    "changeUser": {**_USER, "role": "sender", "scopes": sorted(RIGHTS[Role.SENDER])},
    "deleteUser": None,
    "createApiKey": {**_KEY, "key": _SHOWN},
    "listApiKeys": _page({**_KEY, "last_used_at": _AT, "last_used_from": "192.0.2.17"}),
    "getApiKey": {**_KEY, "last_used_at": _AT, "last_used_from": "192.0.2.17"},
    "rotateApiKey": {
        **_KEY, "id": 9, "prefix": "hyb_p0w4n8c1d6ef", "replaces": 8, "old_ends_at": _END, "key": "hyb_p0w4n8c1d6ef_…",
    },
    "revokeApiKey": None,
    "getMe": {
        "tenant": {"id": 1, "slug": "acme", "name": "Acme"},
        "key": {
            "id": 7, "name": "花子のノート PC", "prefix": "hyb_z9y8x7w6v5ut", "cidrs": [], "expires_at": None,
        },
        "user": {"id": 6, **_USER_FORM},
        "scopes": _EDITOR,
    },
}  # fmt: skip
