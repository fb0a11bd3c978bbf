"""What stands on a parked message: who it is, whence it came, why and when.

Promises: the id of a parked message is the same whenever it is read. Where we park, a random id is given; what the
broker itself put aside has the id of a hash over its ``x-death`` header and its body, so that two equal messages which
died in the same second share one and are treated as one.
Fails: nothing raises; what a message does not say is empty.
"""

import hashlib
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from hayabin.broker.interface import Parked

ID = "hayabin-parked-id"
AT = "hayabin-parked-at"
QUEUE = "hayabin-queue"
REASON = "hayabin-reason"
DETAIL = "hayabin-detail"
_OURS = frozenset({ID, AT, QUEUE, REASON, DETAIL})
_BROKERS = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-count")


def parking_headers(headers: Mapping[str, str], queue: str, reason: str, detail: str) -> dict[str, str]:
    """The headers of a message that is being parked."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {
        **original_headers(headers),
        ID: secrets.token_hex(8),
        AT: now,
        QUEUE: queue,
        REASON: reason,
        DETAIL: detail,
    }


def original_headers(headers: Mapping[str, Any]) -> dict[str, str]:
    """What the message carried before it was parked."""
    return {k: str(v) for k, v in headers.items() if k not in _OURS and not k.startswith(_BROKERS)}


def read_parked(headers: Mapping[str, Any], body: bytes) -> Parked:
    """The parked message that these headers and body are."""
    death = _last_death(headers)
    queue = str(headers.get(QUEUE) or death.get("queue") or "")
    reason = str(headers.get(REASON) or death.get("reason") or "")
    return Parked(
        id=str(headers.get(ID) or _hash(queue, reason, str(death.get("time", "")), body)),
        queue=queue,
        reason=reason,
        detail=str(headers.get(DETAIL, "")),
        parked_at=_parked_at(headers.get(AT), death.get("time")),
        size_bytes=len(body),
        headers=original_headers(headers),
        body=body,
    )


def _last_death(headers: Mapping[str, Any]) -> Mapping[str, Any]:
    deaths = headers.get("x-death")
    if isinstance(deaths, list) and deaths and isinstance(deaths[0], Mapping):
        return deaths[0]
    return {}


def _parked_at(ours: object, brokers: object) -> datetime | None:
    if isinstance(ours, str):
        try:
            return datetime.fromisoformat(ours)
        except ValueError:
            return None
    return brokers if isinstance(brokers, datetime) else None


def _hash(*parts: str | bytes) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()
