"""Examples of the operations on the delivery engine: lanes, suspensions, policies, pools, warm-ups.

Promises: as ``services.api.examples`` says, which lays these beside its own.
"""

from typing import Any

_AT = "2026-11-24T09:00:00+00:00"
_SUSPENSION = {
    "id": 31, "pool": None, "source_ip": "192.0.2.10", "provider": "gmail", "origin": "operator",
    "reason": "complaint from the postmaster", "until": "2026-11-24T10:00:00+00:00", "created_at": _AT,
}  # fmt: skip
_LANE = {
    "pool": "main", "source_ip": "192.0.2.10", "lane": "gmail", "dispatcher": "dispatcher-main-0", "state": "slowed",
    "reason": "gmail-4.7.28-rate", "next_try_at": None, "suspension_id": None, "waiting": 310, "belt_ready": 12,
    "connections": 4, "connection_limit": 5, "begun_per_s": 7.5, "limit_per_s": 8.0, "begun_today": 20314,
    "cap_today": None, "reported_at": _AT,
}  # fmt: skip
_OVERRIDES = {
    "connections": 5,
    "rate_per_s": 8,
    "retry_delays_s": [600, 1800, 3600],
    "rules": [
        {"name": "busy", "code": "421", "enhanced": "4\\.7\\.28", "slow_to": 0.5, "suspend_lane_s": 600,
         "example": "421 4.7.28 Our system has detected an unusual rate of unsolicited mail",
         "source": "observed 2026-11-20"},
    ],
}  # fmt: skip
_POLICY = {
    "provider": "gmail", "overrides": _OVERRIDES, "updated_at": _AT,
    "effective": [{"pool": "main", "settings": {"connections": 5, "tls": "opportunistic"}, "reported_at": _AT}],
}  # fmt: skip
_POOL = {"name": "main", "description": "", "state": "active", "created_at": _AT}
_SOURCE = {"address": "192.0.2.11", "ehlo_name": "mta2.example.jp"}
_SOURCE_IP = {
    "pool": "second", **_SOURCE, "origin": "api", "state": "waiting", "dispatcher": None, "seen_at": None,
    "problem": "",
}  # fmt: skip
_PLAN = {"start_per_day": 50, "growth": 1.5, "end_per_day": 10_000, "started_on": "2026-11-24"}
_WARMUP = {
    "source_ip": "192.0.2.11", "provider": "gmail", **_PLAN, "created_at": _AT, "used_today": 12, "day": 0, "days": 14,
    "cap_today": 50, "finished": False,
}  # fmt: skip


def _page(*items: dict[str, Any]) -> dict[str, Any]:
    return {"items": list(items), "next_cursor": None}


ENGINE_REQUESTS: dict[str, Any] = {
    "suspendLanes": {
        "source_ip": "192.0.2.10",
        "provider": "gmail",
        "reason": "complaint from the postmaster",
        "for_s": 3600,
    },
    "resumeLanes": {"provider": "gmail"},
    "overridePolicy": _OVERRIDES,
    "createIpPool": {"name": "second", "description": "warming up"},
    "addSourceIp": _SOURCE,
    "planWarmup": _PLAN,
}

ENGINE_ANSWERS: dict[str, Any] = {
    "listLanes": _page(_LANE),
    "resumeLanes": {"lifted": [_SUSPENSION]},
    "suspendLanes": _SUSPENSION,
    "listSuspensions": _page(_SUSPENSION),
    "liftSuspension": None,
    "listPolicies": _page(_POLICY),
    "getPolicy": _POLICY,
    "overridePolicy": _POLICY,
    "resetPolicy": None,
    "listIpPools": _page({**_POOL, "sources": [{**_SOURCE_IP, "pool": "main"}]}),
    "createIpPool": {**_POOL, "name": "second", "description": "warming up"},
    "removeIpPool": {**_POOL, "name": "second", "state": "removed", "moved_campaigns": 3},
    "addSourceIp": _SOURCE_IP,
    "removeSourceIp": None,
    "listWarmups": _page(_WARMUP),
    "planWarmup": _WARMUP,
    "endWarmup": None,
}
