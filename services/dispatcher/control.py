"""What operators and other dispatchers say, read every second: suspensions, policies, source IPs, warm-ups, the pool.

Promises: a change in the database holds here within about two seconds, without a restart; an override that makes no
sense is logged and passed over; a source IP is used by one dispatcher only, and only after it was proven. What a lifted
suspension, a new warm-up plan or a further source IP had put off is due at once.
Fails: a database that is away leaves everything as it was last read.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Final

from hayabin.database import ledger
from hayabin.database.engine import Pool
from hayabin.domain.lane import PROVIDERS
from hayabin.domain.policy import DEFAULT, Policy, as_json
from hayabin.domain.warmup import WarmupPlan
from hayabin.telemetry.logging import get_logger
from services.dispatcher.daily import DailyCap, DailyCaps
from services.dispatcher.gate import DATABASE_AWAY
from services.dispatcher.policy import Policies
from services.dispatcher.settings import Source
from services.dispatcher.suspensions import Origin, Suspension, Suspensions

READ_S: Final = 1.0
OTHER: Final = "other"
"""The warm-up key of every destination that is no provider."""

_READ_SQL = """
SELECT
  (SELECT state FROM ip_pools WHERE name = $1) AS pool_state,
  (SELECT COALESCE(json_agg(s), '[]') FROM (
     SELECT pool, source_ip, provider, origin, reason, EXTRACT(EPOCH FROM until)::float8 AS until FROM suspensions
     WHERE (pool IS NULL OR pool = $1) AND (until IS NULL OR until > now())) s) AS suspensions,
  (SELECT COALESCE(json_object_agg(provider, settings), '{}') FROM provider_policies) AS policies,
  (SELECT COALESCE(json_agg(w), '[]') FROM (
     SELECT source_ip, provider, start_per_day, growth, end_per_day, started_on FROM warmups) w) AS warmups,
  (SELECT COALESCE(json_agg(address), '[]') FROM source_ips WHERE pool = $1 AND state = 'removed') AS removed,
  (SELECT COALESCE(json_agg(address), '[]') FROM pool_sources
   WHERE pool = $1 AND dispatcher <> $2 AND seen_at > now() - interval '30 seconds') AS elsewhere,
  (SELECT COALESCE(json_agg(json_build_array(source_ip, lane)), '[]') FROM lane_reports
   WHERE pool = $1 AND dispatcher <> $2 AND reported_at > now() - interval '15 seconds'
     AND state IN ('suspended', 'capped', 'resting', 'quiet')) AS closed_elsewhere"""


@dataclass(slots=True)
class _Seen:
    """What was read, to find what changed."""

    policies: str = ""
    warmups: str = ""
    suspensions: frozenset[Suspension] = frozenset()


@dataclass(slots=True, eq=False)
class Control:
    """See the module; run ``read_for_ever`` as a task."""

    database: Pool
    pool: str
    instance: str
    shipped: Policies
    suspensions: Suspensions
    caps: DailyCaps
    sources: tuple[Source, ...] = ()
    """Those that are proven and not removed."""
    proven: Callable[[], tuple[Source, ...]] = lambda: ()
    on_plans: Callable[[], None] = lambda: None
    policies: Policies = field(init=False)
    pool_removed: bool = False
    generation: int = 0
    """Grows with each change of policies or sources."""
    _warmups: dict[tuple[str, str], WarmupPlan] = field(default_factory=dict)
    _elsewhere: frozenset[str] = frozenset()
    _closed_elsewhere: frozenset[tuple[str, str]] = frozenset()
    _seen: _Seen = field(default_factory=_Seen)
    _hasten_again: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Go by the shipped policies until the database was read."""
        self.policies = self.shipped

    async def read_for_ever(self) -> None:
        """Read, write, wait, again."""
        while True:
            try:
                await self.suspensions.write(self.database)
                await self.read()
            except DATABASE_AWAY as error:
                get_logger().warning("control_waits", error=repr(error))
            await asyncio.sleep(READ_S)

    async def read(self) -> None:
        """Take over what the database says now."""
        row = await self.database.fetchrow(_READ_SQL, self.pool, self.instance)
        if row is None:
            raise RuntimeError("a SELECT without FROM has one row")
        self.pool_removed = row["pool_state"] == "removed"
        elsewhere = frozenset(json.loads(row["elsewhere"]))
        gained = bool(elsewhere - self._elsewhere) and self._seen.warmups != ""
        self._elsewhere = elsewhere
        self._closed_elsewhere = frozenset((ip, lane) for ip, lane in json.loads(row["closed_elsewhere"]))
        due = self._take_suspensions(json.loads(row["suspensions"]))
        changed = await self._take_policies(row["policies"])
        replanned = self._take_warmups(row["warmups"])
        gained |= self._take_sources(frozenset(json.loads(row["removed"])))
        if changed or replanned or gained:
            due += ["capped:%", "quiet:%"]
        if gained:
            due.append("suspended:%")
        # Once more at the next reading: what was put off just before this one may be written only after it.
        hasten, self._hasten_again = [*due, *self._hasten_again], due
        if hasten:
            async with self.database.acquire() as connection:
                await ledger.hasten(connection, hasten)

    def _take_suspensions(self, rows: Sequence[dict[str, Any]]) -> list[str]:
        """Give the patterns of reasons that rows wait for in vain: what was lifted, or ends earlier than it said."""
        read = frozenset(
            Suspension(
                row["pool"],
                row["source_ip"],
                row["provider"],
                Origin(row["origin"]),
                row["reason"],
                None if row["until"] is None else datetime.fromtimestamp(row["until"], UTC),
            )
            for row in rows
        )
        now = datetime.now(UTC)
        ends = {suspension.target: suspension.until for suspension in read}
        lifted = {
            suspension.provider or "%"
            for suspension in self._seen.suspensions
            if suspension.holds(now) and _ends_sooner(suspension, ends)
        }
        self._seen.suspensions = read
        self.suspensions.read(read)
        return [f"suspended:{provider}" for provider in sorted(lifted)]

    async def _take_policies(self, text: str) -> bool:
        if text == self._seen.policies:
            return False
        first, self._seen.policies = not self._seen.policies, text
        self.policies = self.shipped.with_overrides(json.loads(text))
        for problem in self.policies.problems:
            get_logger().error("policy_override_refused", problem=problem)
        self.generation += 1
        await report_policies(self.database, self.pool, self.policies)
        return not first

    def _take_warmups(self, text: str) -> bool:
        if text == self._seen.warmups:
            return False
        first = not self._seen.warmups
        self._seen.warmups = text
        self._warmups = {
            (row["source_ip"], row["provider"]): WarmupPlan(
                row["start_per_day"], row["growth"], row["end_per_day"], date.fromisoformat(row["started_on"])
            )
            for row in json.loads(text)
        }
        self.on_plans()
        return not first

    def _take_sources(self, removed: frozenset[str]) -> bool:
        """Tell whether there are more than before."""
        sources = () if self.pool_removed else tuple(s for s in self.proven() if s.ip not in removed)
        if sources != self.sources:
            get_logger().info("sources_changed", sources=[s.ip for s in sources])
            gained = bool(self.sources) and not set(sources) <= set(self.sources)
            self.sources = sources
            self.generation += 1
            return gained
        return False

    # --- asked by lanes and destinations

    def daily_caps(self, source_ip: str, lane: str, policy: Policy) -> list[DailyCap]:
        """Give the caps of a day that hold for a lane: the warm-up's, and the policy's."""
        provider = lane if lane in PROVIDERS else OTHER
        plan = self._warmups.get((source_ip, provider)) or self._warmups.get((source_ip, "*"))
        most = policy.rate_per_day
        if provider == lane:
            if plan is None:
                return [] if most is None else [self.caps.get(source_ip, lane, lambda _: most)]
            return [self.caps.get(source_ip, lane, lambda day: _lower(plan.cap_on(day), most))]
        caps = [] if plan is None else [self.caps.get(source_ip, provider, plan.cap_on)]
        return caps if most is None else [*caps, self.caps.get(source_ip, lane, lambda _: most)]

    def open_elsewhere(self, lane: str) -> bool:
        """Tell whether another dispatcher of the pool has a source IP on which this lane is open."""
        now = datetime.now(UTC)
        return any(
            (ip, lane) not in self._closed_elsewhere and self.suspensions.of(ip, lane, now) is None
            for ip in self._elsewhere
        )


def _ends_sooner(before: Suspension, ends: Mapping[Any, datetime | None]) -> bool:
    if before.target not in ends:
        return True
    until = ends[before.target]
    return until is not None and (before.until is None or until < before.until)


def _lower(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


async def report_policies(database: Pool, pool: str, policies: Policies) -> None:
    """Write the policies that hold now, for who asks the API."""
    shown = {name: as_json(policies.get(None if name == DEFAULT else name)) for name in (*PROVIDERS, DEFAULT)}
    await database.execute(
        "INSERT INTO effective_policies (pool, provider, settings) "
        "SELECT $1, p, s FROM unnest($2::text[], $3::jsonb[]) AS e(p, s) "
        "ON CONFLICT (pool, provider) DO UPDATE SET settings = excluded.settings, reported_at = now()",
        pool,
        list(shown),
        list(shown.values()),
    )
