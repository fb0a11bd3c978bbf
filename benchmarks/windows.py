"""How many mails a statement of the gate and one of the outcome writer should have: the curves behind their windows.

One command: ``python -m benchmarks.windows [--short] [--out FILE]``; progress on stderr, a table and
``benchmarks/out/windows.json`` at the end. A launched campaign on a PostgreSQL of its own (fsync on); for each size in
turn, mails are claimed by the gate's statement and settled by the outcome writer's transaction (outcome, attempt,
transcript), that many at a time, one statement after the other. Rounds go through the sizes in turns; medians.
Units: microseconds of PostgreSQL's CPU a mail; milliseconds a statement. A whole run takes about a minute.
Fails: SystemExit where the gate refuses a mail that is due.
"""

import asyncio
import statistics
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.engine_parts.stage import say
from benchmarks.ledger_parts.fill import Plan, fill
from benchmarks.ledger_parts.layout import Layout
from benchmarks.ledger_parts.sending import SAID, outcome
from benchmarks.processes import cpu_of_group, descendants
from benchmarks.report import Report, begin, parser
from hayabin.database import ledger
from hayabin.database.engine import Connection, open_pool
from hayabin.database.migrate import upgrade
from tests.support.postgres import PostgresInstance, private_postgres

SIZES = (5, 10, 20, 50, 100, 200, 500, 1000)


async def claim(connection: Connection, ids: Sequence[int]) -> None:
    """One statement of the gate."""
    granted = await ledger.claim(connection, [(message_id, 0) for message_id in ids], "bench-dispatcher")
    if len(granted) < len(ids):
        raise SystemExit(f"the gate let {len(granted)} of {len(ids)} mails through that were due")


async def settle(connection: Connection, ids: Sequence[int]) -> None:
    """One transaction of the outcome writer."""
    async with connection.transaction():
        await ledger.record(connection, [outcome(message_id) for message_id in ids])
        await ledger.keep_transcripts(connection, [(message_id, 1, SAID) for message_id in ids])


async def measure(server: PostgresInstance, rounds: int, mails: int) -> list[dict[str, Any]]:
    """Measure every size in every round; ``mails`` each."""
    filled = await fill(server.url, Plan(Layout.WHOLE, 0, rounds * mails * len(SIZES)))
    ids, found = iter(filled.ids), []
    pool = await open_pool(server.url, name="bench", size=1, look_ups=True)
    async with pool.acquire() as connection:
        for number in range(rounds):
            for size in SIZES if number % 2 == 0 else reversed(SIZES):
                mine = [next(ids) for _ in range(mails)]
                groups = [mine[at : at + size] for at in range(0, mails, size)]
                one: dict[str, Any] = {"rows": size}
                for name, step in (("claim", claim), ("settle", settle)):
                    used_s, began_s = cpu_of_group(descendants(server.process_ids())), time.monotonic()
                    for group in groups:
                        await step(connection, group)
                    took_s = time.monotonic() - began_s
                    used_s = cpu_of_group(descendants(server.process_ids())) - used_s
                    one[f"{name}_server_us"] = round(used_s / mails * 1e6, 1)
                    one[f"{name}_ms"] = round(took_s / len(groups) * 1e3, 2)
                say(f"round {number + 1}: {one}")
                found.append(one)
    await pool.close()
    return found


def medians(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give the curve: for each size the medians of the rounds."""
    return [
        {"rows": size}
        | {
            what: round(statistics.median(one[what] for one in found if one["rows"] == size), 2)
            for what in ("claim_server_us", "claim_ms", "settle_server_us", "settle_ms")
        }
        for size in SIZES
    ]


def judge(report: Report, curve: list[dict[str, Any]]) -> None:
    """Show the curve; it has no goal but to go down."""
    for one in curve:
        measured = (
            f"claims {one['claim_server_us']} us a mail, {one['claim_ms']} ms; "
            f"outcomes {one['settle_server_us']} us a mail, {one['settle_ms']} ms"
        )
        report.goal("windows", f"{one['rows']} rows", measured, "less than with 5", met=_less(one, curve[0]))


def _less(one: dict[str, Any], first: dict[str, Any]) -> bool:
    return one is first or all(one[what] < first[what] for what in ("claim_server_us", "settle_server_us"))


def main() -> None:
    """Measure, print, write."""
    arguments = parser("windows", __doc__).parse_args()
    report = begin("windows", arguments)
    rounds, mails = (1, 1_000) if arguments.short else (3, 6_000)
    with private_postgres(fsync=True) as postgres:
        upgrade(postgres.url)
        found = asyncio.run(measure(postgres, rounds, mails))
    curve = medians(found)
    judge(report, curve)
    report.write({"mails_each": mails, "curve": curve, "rounds": found})


if __name__ == "__main__":
    main()
