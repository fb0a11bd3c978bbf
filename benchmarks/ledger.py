"""The gate and the outcomes on a large ledger, on a small one, and on partitioned ones, in one run.

One command: ``python -m benchmarks.ledger [--short] [--rows N] [--parted-rows N] [--out FILE]``; progress on stderr.
One PostgreSQL (fsync on) has a database for each ledger:

- ``small``: only the campaign that is sent; ``large``: beside it 10,000,000 rows of the past;
- ``whole``, ``tight``, ``by_campaign``, ``by_id``: fewer rows of the past, in one table, in one with less room on its
  pages, hashed by campaign, in ranges of ids.

They take turns. In each turn the next mails of the launched campaign are claimed by the dispatcher's gate, then their
outcomes are written by its outcome writer, each alone; then more of them go through both, while the API's own functions
answer questions about the campaign. Last, the rows of one campaign of the past are removed from the partitioned
ledgers, by DELETE or by DROP of a partition. A whole run takes about five minutes, most of it to fill.
Units: mails a second, milliseconds, microseconds of CPU and bytes of WAL a mail.
Fails: SystemExit where a mail is refused, or the ledger does not have each mail with its outcome at the end.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from benchmarks.engine_parts.stage import say
from benchmarks.ledger_parts.fill import CAMPAIGNS, Filled, Plan, fill
from benchmarks.ledger_parts.layout import Layout
from benchmarks.ledger_parts.questions import ask_until
from benchmarks.ledger_parts.sending import dispatching, rate
from benchmarks.ledger_parts.versions import Versions, versions
from benchmarks.processes import cpu_of_group, descendants
from benchmarks.report import Report, begin, parser
from hayabin.database.migrate import upgrade
from tests.support.postgres import PostgresInstance, private_postgres

MEDIANS = ("claims_per_s", "outcomes_per_s", "both_while_asked_per_s", "claim_server_us", "outcome_server_us")
RATE_GOAL, HOT_GOAL, UPDATES_GOAL, ANSWER_GOAL_MS = 0.9, 0.95, 2.0, 100.0


@dataclass(frozen=True, slots=True)
class Alone:
    """One step, measured alone; CPU is that of all of PostgreSQL, a mail."""

    per_s: int
    server_us: float


@dataclass(slots=True)
class Ledger:
    """One of the ledgers, and what was measured of it."""

    name: str
    url: str
    plan: Plan
    filled: Filled
    sent: int = 0
    turns: list[dict[str, Any]] = field(default_factory=list)

    def next_ids(self, count: int) -> list[int]:
        """The next mails of the campaign, in the order in which they are fed."""
        ids = self.filled.ids[self.sent : self.sent + count]
        self.sent += count
        return ids

    def median(self, what: str) -> float:
        """The median of the turns."""
        return round(float(statistics.median(turn[what] for turn in self.turns)), 1)


async def alone(step: Callable[[Sequence[int]], Awaitable[None]], ids: list[int], server: PostgresInstance) -> Alone:
    """Have one step done for some mails."""
    before_s = cpu_of_group(descendants(server.process_ids()))
    per_s = await rate(step, ids)
    used_s = cpu_of_group(descendants(server.process_ids())) - before_s
    return Alone(round(per_s), round(used_s / len(ids) * 1e6, 1))


async def turn(ledger: Ledger, mails: int, server: PostgresInstance) -> None:
    """Measure a ledger once."""
    watching = await asyncpg.connect(ledger.url)
    await watching.execute("CHECKPOINT")
    before: Versions = await versions(watching)
    ids, mixed = ledger.next_ids(mails), ledger.next_ids(mails)
    async with dispatching(ledger.url) as dispatcher:
        claims = await alone(dispatcher.claim, ids, server)
        outcomes = await alone(dispatcher.settle, ids, server)
    between = await versions(watching)
    all_sent = asyncio.Event()
    async with dispatching(ledger.url) as dispatcher:
        asking = asyncio.create_task(ask_until(ledger.url, ledger.filled, all_sent))
        both_per_s = await rate(dispatcher.carry, mixed)
        all_sent.set()
        asked = await asking
    cost, cost_mixed = between.per_mail(before, mails), (await versions(watching)).per_mail(between, mails)
    await watching.close()
    ledger.turns.append(
        {
            "claims_per_s": claims.per_s,
            "outcomes_per_s": outcomes.per_s,
            "claim_server_us": claims.server_us,
            "outcome_server_us": outcomes.server_us,
            "both_while_asked_per_s": round(both_per_s),
            "cost_per_mail": cost,
            "cost_per_mail_both": cost_mixed,
            "answers": asked.summary(),
        }
    )
    say(f"{ledger.name}: claims {claims}, outcomes {outcomes}, both {both_per_s:.0f}/s")
    say(f"  apart {cost}, both {cost_mixed}")


async def make(server_url: str, name: str, plan: Plan) -> Ledger:
    """Make a database with a ledger in it."""
    server = await asyncpg.connect(server_url)
    await server.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    await server.close()
    url = urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    upgrade(url)
    filled = await fill(url, plan)
    say(f"{name}: {plan.past} rows of the past, {plan.mails} to send, filled in {filled.fill_s:.1f} s")
    return Ledger(name, url, plan, filled)


async def drop(server_url: str, ledger: Ledger) -> None:
    """Give the space back, after a look whether each mail that was sent has its outcome, and none was sent besides."""
    connection = await asyncpg.connect(ledger.url)
    found = await connection.fetchrow(
        "SELECT count(*) FILTER (WHERE state IN ('accepted', 'bounced') AND attempt = 1) AS done, "
        "count(*) FILTER (WHERE state = 'due' AND attempt = 0) AS due FROM messages WHERE campaign_id = $1",
        ledger.filled.seeded.campaign_id,
    )
    await connection.close()
    if found is None or (found["done"], found["due"]) != (ledger.sent, ledger.plan.mails - ledger.sent):
        raise SystemExit(f"{ledger.name}: {ledger.sent} of {ledger.plan.mails} were sent, the ledger says {found}")
    server = await asyncpg.connect(server_url)
    await server.execute(f"DROP DATABASE {ledger.name} WITH (FORCE)")
    await server.close()


async def forget(ledger: Ledger) -> dict[str, float]:
    """Remove a tenth of the past: a campaign by DELETE and VACUUM; of ``BY_ID`` a partition by DROP."""
    connection = await asyncpg.connect(ledger.url)
    wal = await connection.fetchval("SELECT pg_current_wal_insert_lsn()")
    began_s = time.monotonic()
    if ledger.plan.layout is Layout.BY_ID:
        rows = await connection.fetchval("SELECT count(*) FROM messages_0")
        began_s = time.monotonic()
        await connection.execute("DROP TABLE messages_0")
    else:
        oldest = await connection.fetchval("SELECT campaign_id FROM messages ORDER BY id LIMIT 1")
        began_s = time.monotonic()
        status = await connection.execute("DELETE FROM messages WHERE campaign_id = $1", oldest)
        rows = int(status.split()[-1])
        await connection.execute("VACUUM messages")
    took_s = time.monotonic() - began_s
    wal_bytes = await connection.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), $1)::bigint", wal)
    await connection.close()
    return {"rows": rows, "seconds": round(took_s, 3), "wal_bytes_a_row": round(wal_bytes / max(rows, 1), 1)}


async def compare(server: PostgresInstance, plans: dict[str, Plan], rounds: int, mails: int) -> dict[str, Any]:
    """Let ledgers take turns; the ones of partitions forget something at the end."""
    ledgers = [await make(server.url, name, plan) for name, plan in plans.items()]
    for number in range(rounds):
        for ledger in ledgers if number % 2 == 0 else reversed(ledgers):
            await turn(ledger, mails, server)
    found: dict[str, Any] = {}
    for ledger in ledgers:
        found[ledger.name] = {
            "rows_of_the_past": ledger.plan.past,
            "layout": ledger.plan.layout.value,
            "fill_s": round(ledger.filled.fill_s, 1),
            "launch": {
                "mails": ledger.plan.mails,
                "seconds": round(ledger.filled.launch_s, 2),
                "wal_bytes_a_mail": round(ledger.filled.launch_wal_bytes / ledger.plan.mails, 1),
            },
            **{what: ledger.median(what) for what in MEDIANS},
            "turns": ledger.turns,
        }
        await drop_after(server.url, ledger, found[ledger.name])
    return found


async def drop_after(server_url: str, ledger: Ledger, found: dict[str, Any]) -> None:
    """Drop a ledger; one that stands for a layout is first asked to forget."""
    if ledger.name in set(Layout):
        found["forgetting"] = await forget(ledger)
    await drop(server_url, ledger)


def judge(report: Report, sizes: dict[str, Any]) -> None:
    """Hold the large ledger against the small one."""
    large, small = sizes["large"], sizes["small"]
    for what in ("claims_per_s", "outcomes_per_s"):
        share = large[what] / small[what]
        measured = f"{large[what]:.0f}/s, {share:.2f} x that of a small ledger"
        report.goal("ledger", what, measured, f">= {RATE_GOAL} x", met=share >= RATE_GOAL)
    costs = [turn["cost_per_mail"] for turn in large["turns"]]
    updates = statistics.median(cost["updates"] for cost in costs)
    hot = statistics.median(cost["hot_share"] for cost in costs)
    report.goal(
        "ledger", "versions of a row", f"insert + {updates:.2f} updates", f"insert + {UPDATES_GOAL:.0f}",
        met=updates <= UPDATES_GOAL,
    )  # fmt: skip
    report.goal("ledger", "HOT updates", f"{hot:.1%}", f">= {HOT_GOAL:.0%}", met=hot >= HOT_GOAL)
    for name in large["turns"][0]["answers"]:
        p99 = statistics.median(turn["answers"][name]["p99_ms"] for turn in large["turns"])
        p50 = statistics.median(turn["answers"][name]["p50_ms"] for turn in large["turns"])
        measured = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"
        report.goal("while sending", name, measured, f"p99 <= {ANSWER_GOAL_MS:.0f} ms", met=p99 <= ANSWER_GOAL_MS)


def run(past: int, parted: int, rounds: int, mails: int) -> dict[str, Any]:
    """Compare sizes, then layouts."""
    to_send = rounds * mails * 2
    sizes = {"small": Plan(Layout.WHOLE, 0, to_send), "large": Plan(Layout.WHOLE, past, to_send)}
    layouts = {layout.value: Plan(layout, parted, to_send) for layout in Layout}
    with private_postgres(fsync=True) as postgres:
        return {
            "mails_a_turn": mails,
            "campaigns_of_the_past": CAMPAIGNS,
            "sizes": asyncio.run(compare(postgres, sizes, rounds, mails)),
            "layouts": asyncio.run(compare(postgres, layouts, rounds, mails)),
        }


def main() -> None:
    """Measure, print, write."""
    options = parser("ledger", __doc__)
    options.add_argument("--rows", type=int, help="rows of the past in the large ledger (10,000,000; short: 20,000)")
    options.add_argument(
        "--parted-rows", type=int, help="the same where layouts are compared (2,000,000; short: 10,000)"
    )
    arguments = options.parse_args()
    report = begin("ledger", arguments)
    past = arguments.rows or (20_000 if arguments.short else 10_000_000)
    parted = arguments.parted_rows or (10_000 if arguments.short else 2_000_000)
    rounds, mails = (1, 2_000) if arguments.short else (3, 8_000)
    found = run(past, parted, rounds, mails)
    judge(report, found["sizes"])
    report.write(found)


if __name__ == "__main__":
    main()
