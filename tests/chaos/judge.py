"""The judge: compares what receiving servers wrote down, what the ledger says, and what the API answers.

It shares no code with what it judges but the reading of signed return paths (which say whose mail a receiver took).

- *lost*: a recipient of an acknowledged launch without a row, or whose row is neither accepted nor in a final state with
  a reason, although nothing is under way any more.
- *twice*: a ledger id that receivers took more than once.
- *contradicted*: accepted in the ledger and in no journal, or taken by a receiver while the ledger says something else
  than accepted, complained or unknown; a journal entry of no row.
- *equation*: audience = accepted + bounced + ... + due, by SQL, by the counters and by the API.

Promises: recipients are compared one by one. Fails: the database's errors come out.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hayabin.database.engine import Connection
from hayabin.domain.token import TokenRing
from hayabin.domain.verp import read_return_path
from tests.support.mx_journal import Entry

OPEN = frozenset({"due", "claimed", "deferred"})
TAKEN = frozenset({"accepted", "complained", "unknown"})
API_TERMS = ("accepted", "failed", "suppressed", "cancelled", "expired", "unknown", "due")
COUNTED = ("accepted", "bounced", "complained", "failed", "suppressed", "cancelled", "expired", "unknown")
SHOWN = 5

_ROWS_SQL = """
SELECT m.id, m.campaign_id, m.state, m.reason, m.attempt, r.wire FROM messages m LEFT JOIN recipients r ON r.message_id = m.id
WHERE m.campaign_id = ANY($1)"""

_COUNTERS_SQL = """
SELECT campaign_id, name, sum(n)::bigint AS n FROM (
    SELECT campaign_id, name, n FROM counters UNION ALL SELECT campaign_id, name, n FROM counter_deltas) k
WHERE campaign_id = ANY($1) GROUP BY campaign_id, name"""


@dataclass(frozen=True, slots=True)
class Launch:
    """What a client knows of a launch that was acknowledged."""

    campaign_id: int
    addresses: frozenset[str]


@dataclass(slots=True)
class Verdict:
    """What the judge found; ``examples`` name some of what is wrong."""

    launched: int = 0
    accepted: int = 0
    lost: int = 0
    twice: int = 0
    contradicted: int = 0
    unknown: int = 0
    bounced: int = 0
    stopped: int = 0  # suppressed, cancelled, expired or failed, each with its reason
    taken: int = 0  # journal entries
    equation: bool = True
    examples: list[str] = field(default_factory=list)

    def note(self, kind: str, what: object) -> None:
        """Remember an example."""
        if sum(example.startswith(kind) for example in self.examples) < SHOWN:
            self.examples.append(f"{kind}: {what}")


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a scenario makes legitimate; everything else is a finding."""

    waiting: bool = False  # rows may be due: the campaign is paused or held on purpose
    bounced_later: frozenset[int] = frozenset()  # taken, and returned by a DSN afterwards
    resolved: frozenset[int] = frozenset()  # a person said what became of it


async def judge(
    connection: Connection,
    launches: Collection[Launch],
    journal: Iterable[Entry],
    ring: TokenRing,
    stats: Mapping[int, Mapping[str, Any]],
    allowed: Allowed | None = None,
) -> Verdict:
    """Judge some campaigns whose sending is over (or stopped on purpose).

    Shape: ``stats`` is what the API says, by campaign.
    """
    allowed = allowed or Allowed()
    verdict = Verdict()
    ids = [launch.campaign_id for launch in launches]
    rows = await connection.fetch(_ROWS_SQL, ids)
    taken = Counter(read_return_path(entry.mail_from, ring).message_id for entry in journal)
    mine = {row["id"] for row in rows}
    known = mine | {row["id"] for row in await connection.fetch("SELECT id FROM messages WHERE id = ANY($1)", [*taken])}
    for stranger in taken.keys() - known:
        verdict.contradicted += 1
        verdict.note("contradicted", f"a mail of {stranger} was taken, and there is no such row")
    verdict.launched = sum(len(launch.addresses) for launch in launches)
    verdict.taken = sum(n for message_id, n in taken.items() if message_id in mine)
    for row in rows:
        _judge_row(row, taken[row["id"]], allowed, verdict)
    _judge_audience(launches, rows, verdict)
    await _judge_equation(connection, ids, rows, stats, verdict)
    return verdict


def _judge_row(row: Any, taken: int, allowed: Allowed, verdict: Verdict) -> None:
    state, seen = (
        row["state"],
        f"{row['id']} ({row['state']}, {row['reason']}, attempt {row['attempt']}, taken {taken})",
    )
    if taken > 1:
        verdict.twice += 1
        verdict.note("twice", seen)
    if state in OPEN:
        if not allowed.waiting or state == "claimed":
            verdict.lost += 1
            verdict.note("lost", seen)
        if taken:
            verdict.contradicted += 1
            verdict.note("contradicted", seen)
        return
    verdict.accepted += state in {"accepted", "complained"}
    verdict.unknown += state == "unknown"
    verdict.bounced += state == "bounced"
    verdict.stopped += state in {"suppressed", "cancelled", "expired", "failed"}
    if state not in TAKEN and not row["reason"]:
        verdict.lost += 1
        verdict.note("lost", f"{seen} without a reason")
    wrong = (
        (state in {"accepted", "complained"} and not taken and row["id"] not in allowed.resolved)
        or (state not in TAKEN and taken and not (state == "bounced" and row["id"] in allowed.bounced_later))
    )  # fmt: skip
    if wrong:
        verdict.contradicted += 1
        verdict.note("contradicted", seen)


def _judge_audience(launches: Collection[Launch], rows: Iterable[Any], verdict: Verdict) -> None:
    """Each recipient that the client named has one row in each campaign."""
    found = Counter((row["campaign_id"], row["wire"]) for row in rows)
    wanted = {(launch.campaign_id, address) for launch in launches for address in launch.addresses}
    for missing in wanted - found.keys():
        verdict.lost += 1
        verdict.note("lost", f"{missing} has no row")
    for key, n in found.items():
        if n != 1 or key not in wanted:
            verdict.contradicted += 1
            verdict.note(
                "contradicted", f"{key} has {n} rows, and {'is' if key in wanted else 'is not'} in the audience"
            )


async def _judge_equation(
    connection: Connection,
    ids: list[int],
    rows: Iterable[Any],
    stats: Mapping[int, Mapping[str, Any]],
    verdict: Verdict,
) -> None:
    """Audience and states, by SQL, by the counters and by the API."""
    by_campaign: dict[int, Counter[str]] = {campaign_id: Counter() for campaign_id in ids}
    for row in rows:
        by_campaign[row["campaign_id"]][row["state"]] += 1
    counters: dict[int, dict[str, int]] = {}
    for row in await connection.fetch(_COUNTERS_SQL, ids):
        counters.setdefault(row["campaign_id"], {})[row["name"]] = row["n"]
    found = await connection.fetch("SELECT id, audience FROM campaigns WHERE id = ANY($1)", ids)
    audiences = {row["id"]: row["audience"] for row in found}
    for campaign_id, states in by_campaign.items():
        shown = stats[campaign_id]
        problems = []
        audience = {sum(states.values()), audiences.get(campaign_id), shown["audience"]}
        if len(audience) > 1:
            problems.append(f"rows, audience by SQL and by the API differ: {audience}")
        if sum(shown[term] for term in API_TERMS) != shown["audience"]:
            problems.append(f"the API's terms are not its audience: { ({term: shown[term] for term in API_TERMS}) }")
        if shown["accepted"] != states["accepted"] + states["complained"]:
            problems.append(f"the API says {shown['accepted']} accepted")
        counted = counters.get(campaign_id, {})
        problems += [
            f"{state}: {states[state]} rows, counted {counted.get(state, 0)}"
            for state in COUNTED
            if counted.get(state, 0) != states[state]
        ]
        for problem in problems:
            verdict.equation = False
            verdict.note("equation", f"campaign {campaign_id}: {problem}")
