"""What each source IP of a pool could do for a destination at this moment, and so when a mail would go.

Promises: whether a lane is open is asked of the dispatcher's own ``Lane``, with what the database says of suspensions
and caps; what only a running dispatcher knows (rests, rates that are used up) is taken from its report.
It cannot fail.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from hayabin.domain.lane import PROVIDERS
from hayabin.domain.policy import Policy
from services.dispatcher.control import OTHER
from services.dispatcher.kept_knowledge import Kept, KnownSource
from services.dispatcher.lane import Closed, Lane, LaneState, Rules
from services.dispatcher.suspensions import Suspension

_ONLY_REPORTED: Final = frozenset({LaneState.RESTING, LaneState.CAPPED})
UNUSED: Final = "unused"
"""The state of a source IP that does not serve this destination at all."""


class When(StrEnum):
    """When a mail would be sent."""

    NOW = "now"
    AT = "at"
    HELD = "held"  # when somebody has done something
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Outlook:
    """When, and why not sooner."""

    when: When
    at: datetime | None = None
    because: str = ""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a mail goes: the lane's key, the policy, the hosts' addresses; ``urgent`` mail has no quiet times."""

    key: str
    policy: Policy
    addresses: Sequence[str]
    urgent: bool


@dataclass(frozen=True, slots=True)
class Prospect:
    """One source IP; ``closed`` None: open. ``unused``: why it does not go there at all."""

    source: KnownSource
    closed: Closed | None = None
    unused: str = ""
    shown: Mapping[str, Any] | None = None

    @property
    def as_json(self) -> dict[str, Any]:
        """The prospect as plain values."""
        report = (self.shown or {}).get("report")
        state = UNUSED if self.unused else "open" if self.closed is None else self.closed.state.value
        if state == "open" and report and report["state"] == LaneState.SLOWED:
            state = LaneState.SLOWED.value
        until = None if self.closed is None or self.closed.ready_at is None else self.closed.ready_at.isoformat()
        reason = self.unused or ("" if self.closed is None else self.closed.reason)
        return {
            "source_ip": self.source.ip,
            "ehlo_name": self.source.ehlo_name,
            "state": state,
            "reason": reason or (report["reason"] if report and state == LaneState.SLOWED else ""),
            "until": until,
            **(self.shown or {}),
        }


def prospects(
    destination: Destination, sources: Sequence[KnownSource], rules: Rules, kept: Kept | None
) -> Iterator[Prospect]:
    """Look at each source IP."""
    families = {":" in address for address in destination.addresses}
    for source in sources:
        policy = destination.policy.of_source(source.ip)
        if source.removed:
            unused = "it was removed from the pool"
        elif not source.live:
            unused = f"no dispatcher has it in use{f': {source.problem}' if source.problem else ''}"
        elif policy is None:
            unused = "the policy allows no IPv6 there"
        elif (":" in source.ip) not in families:
            unused = f"no host has an {'IPv6' if ':' in source.ip else 'IPv4'} address"
        else:
            yield _of_lane(Lane(destination.key, source.ip, policy, rules), source, destination, kept)
            continue
        yield Prospect(source, unused=unused)


def _of_lane(lane: Lane, source: KnownSource, destination: Destination, kept: Kept | None) -> Prospect:
    if kept is None:
        return Prospect(source, lane.closed(urgent=destination.urgent))
    caps = []
    for cap in lane.daily:
        most = cap.cap()  # turns to today
        cap.granted = kept.used_today.get((source.ip, cap.lane), 0)
        cap.exhausted = most is not None and cap.granted >= most
        if most is not None:
            caps.append({"lane": cap.lane, "messages_a_day": most, "used_today": cap.granted})
    closed = lane.closed(urgent=destination.urgent)
    report = kept.reports.get((source.ip, lane.key))
    if closed is None and report is not None and report["state"] in _ONLY_REPORTED:
        closed = Closed(LaneState(report["state"]), report["reason"], report["next_try_at"])
    provider = lane.key if lane.key in PROVIDERS else OTHER
    plan = kept.warmups.get((source.ip, provider)) or kept.warmups.get((source.ip, "*"))
    today = datetime.now(UTC).date()
    shown = {
        "caps": caps,
        "warmup": None
        if plan is None
        else {
            "started_on": plan.started_on.isoformat(),
            "end_per_day": plan.end_per_day,
            "messages_today": plan.cap_on(today),
        },
        "suspensions": [
            {"origin": s.origin.value, "reason": s.reason, "until": None if s.until is None else s.until.isoformat()}
            for s in _suspensions(kept, source.ip, lane.key)
        ],
        "report": None if report is None else _report(report),
    }
    return Prospect(source, closed, shown=shown)


def _suspensions(kept: Kept, source_ip: str, key: str) -> Iterator[Suspension]:
    """Give the suspensions that hold for a lane; all of them are of its pool or of every pool."""
    for suspension in kept.suspensions:
        if suspension.source_ip in (None, source_ip) and suspension.provider in (None, key):
            yield suspension


def _report(report: Mapping[str, Any]) -> dict[str, Any]:
    until = report["next_try_at"]
    return {
        **{name: value for name, value in report.items() if name not in ("source_ip", "lane")},
        "next_try_at": None if until is None else until.isoformat(),
    }


def outlook(found: Sequence[Prospect], pool: str) -> Outlook:
    """Tell when a mail would go from the first of the source IPs that may."""
    used = [prospect for prospect in found if not prospect.unused]
    if not used:
        why = "; ".join(f"{prospect.source.ip}: {prospect.unused}" for prospect in found)
        return Outlook(When.HELD, because=f"no source IP of the pool {pool} may go there{f' ({why})' if why else ''}")
    closed = [prospect.closed for prospect in used if prospect.closed is not None]
    if len(closed) < len(used):
        return Outlook(When.NOW)
    first = min(closed, key=lambda one: (one.ready_at is None, one.ready_at or datetime.max.replace(tzinfo=UTC)))
    because = f"{first.state}: {first.reason}"
    return Outlook(When.HELD if first.ready_at is None else When.AT, first.ready_at, because)
