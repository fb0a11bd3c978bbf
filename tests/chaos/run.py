"""Runs the scenarios, prints a table, writes the results; exit status 1 if a promise broke.

Promises: the seed is printed, and the same seed chooses the same victims in the same order; a scenario that fails for a
reason of its own counts as broken and does not keep the others from running.
"""

import argparse
import asyncio
import json
import logging
import platform
import random
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.scenario import FULL, SHORT, Result, Scale, Scenario
from tests.chaos.world import kept_logs
from tests.chaos.worlds import GROUPS, Group

OUT = Path(__file__).parents[2] / "benchmarks" / "out"
LOGS = Path("build") / "chaos"
COLUMNS = ("launched", "accepted", "lost", "twice", "contradicted", "unknown", "in_flight_at_kills", "recovery_s")


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def run_group(group: Group, scenarios: Sequence[Scenario], scale: Scale, seed: int) -> list[Result]:
    """Run some scenarios one after another in one world."""
    results = []
    async with group.world(seed, scale) as world:
        for scenario in scenarios:
            begun_s = time.monotonic()
            try:
                result = await scenario.run(world, scale)
            except Exception as error:  # noqa: BLE001 - told, and counted as broken
                traceback.print_exc()
                result = Result(scenario.name, broken=[f"the scenario failed: {error!r}"])
            result.seconds = time.monotonic() - begun_s
            if result.broken:
                kept_logs(world, LOGS / scenario.number)
            say(line(scenario, result))
            results.append(result)
    return results


def line(scenario: Scenario, result: Result) -> str:
    """One line of the table."""
    found = result.as_json()
    cells = " ".join(f"{'-' if found[column] is None else found[column]!s:>9}" for column in COLUMNS)
    word = "ok" if not result.broken else "BROKEN"
    text = f"{scenario.number:>4} {word:<6} {cells} {result.seconds:>6.0f} s  {result.name}"
    return "\n".join([text, *(f"            {what}" for what in (*result.broken, *found["examples"]))])


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="break Hayabin on purpose")
    parser.add_argument("--short", action="store_true", help="3,000 recipients and few faults each, under four minutes")
    parser.add_argument("--only", nargs="+", metavar="NUMBER", help="scenarios by number, such as 1 2a")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--people", type=int, help="recipients of a campaign")
    parser.add_argument("--out", type=Path, help="file of the results")
    parser.add_argument("--list", action="store_true", help="list the scenarios and do nothing")
    options = parser.parse_args()
    scenarios = [(group, scenario) for group in GROUPS for scenario in group.scenarios]
    if options.list:
        say("\n".join(f"{scenario.number:>4}  {scenario.name}" for _, scenario in scenarios))
        return 0
    unknown = set(options.only or ()) - {scenario.number for _, scenario in scenarios}
    if unknown:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))} (see --list)")
    scale = SHORT if options.short else FULL
    if options.people:
        scale = Scale(**{**{name: getattr(scale, name) for name in Scale.__slots__}, "people": options.people})
    logging.getLogger("asyncpg").setLevel(logging.CRITICAL)  # servers die here, that is the point
    logging.getLogger("aio_pika").setLevel(logging.CRITICAL)
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    return asyncio.run(run_all(options, scale))


async def run_all(options: argparse.Namespace, scale: Scale) -> int:
    """Run the chosen scenarios by group and report."""
    begun_s = time.monotonic()
    say(f"seed {options.seed}; {scale.people} recipients a campaign")
    say(f"     {'':<6} " + " ".join(f"{column[:9]:>9}" for column in COLUMNS))
    results: dict[str, Result] = {}
    for group in GROUPS:
        chosen = [one for one in group.scenarios if not options.only or one.number in options.only]
        if chosen:
            found = await run_group(group, chosen, scale, options.seed)
            results |= {scenario.number: result for scenario, result in zip(chosen, found, strict=True)}
    report = {
        "command": " ".join(["python -m tests.chaos", *sys.argv[1:]]),
        "machine": {"platform": platform.platform(), "python": platform.python_version()},
        "seed": options.seed,
        "people": scale.people,
        "seconds": round(time.monotonic() - begun_s, 1),
        "scenarios": {number: {"name": r.name, **r.as_json()} for number, r in results.items()},
    }
    out = options.out or OUT / ("chaos-short.json" if scale.kills == SHORT.kills else "chaos.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    broken = [number for number, result in results.items() if result.broken]
    say(f"{len(results)} scenarios in {report['seconds']:.0f} s; written to {out}")
    say(f"BROKEN: {', '.join(broken)}" if broken else "Every promise held.")
    return 1 if broken else 0
