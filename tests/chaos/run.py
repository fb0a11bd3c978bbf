"""Runs the scenarios, prints a table, writes the results; exit status 1 if a promise broke.

Promises: the seed is printed, and the same seed chooses the same victims in the same order; a scenario that fails for a
reason of its own counts as broken and does not keep the others from running.
"""

import argparse
import asyncio
import json
import logging
import os
import platform
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.chaos.scenario import FULL, SHORT, Result, Scale, Scenario, Skipped
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
            except Skipped as reason:
                result = Result(scenario.name, skipped=str(reason))
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
    word = "BROKEN" if result.broken else "skip" if result.skipped else "ok"
    text = f"{scenario.number:>4} {word:<6} {cells} {result.seconds:>6.0f} s  {result.name}"
    notes = (*result.broken, *found["examples"], *([result.skipped] if result.skipped else ()))
    return "\n".join([text, *(f"            {what}" for what in notes)])


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="break Hayabin on purpose")
    parser.add_argument("--short", action="store_true", help="3,000 recipients and few faults each, under four minutes")
    parser.add_argument("--only", nargs="+", metavar="NUMBER", help="scenarios by number, such as 1 2a")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--people", type=int, help="recipients of a campaign")
    parser.add_argument("--out", type=Path, default=OUT / "chaos.json", help="file of the results")
    parser.add_argument("--jobs", type=int, help="worlds beside each other (short 3, full 2); 1: all in this process")
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
    options.jobs = options.jobs or (3 if options.short else 2)
    if options.people:
        scale = Scale(**{**{name: getattr(scale, name) for name in Scale.__slots__}, "people": options.people})
    logging.getLogger("asyncpg").setLevel(logging.CRITICAL)  # servers die here, that is the point
    logging.getLogger("aio_pika").setLevel(logging.CRITICAL)
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    return asyncio.run(run_all(options, scale))


def keep(out: Path, part: str, report: dict[str, Any]) -> None:
    """Write the results of a short or a full run; those of the other, and of scenarios that did not run now, stay."""
    found = json.loads(out.read_text()) if out.exists() else {}
    before = found.get(part, {}).get("scenarios", {})
    order = [scenario.number for group in GROUPS for scenario in group.scenarios]
    scenarios = {**before, **report["scenarios"]}
    report["scenarios"] = {number: scenarios[number] for number in order if number in scenarios}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({**found, part: report}, indent=1, ensure_ascii=False) + "\n")


async def run_all(options: argparse.Namespace, scale: Scale) -> int:
    """Run the chosen scenarios by group and report."""
    begun_s = time.monotonic()
    groups = [
        (group, chosen)
        for group in GROUPS
        if (chosen := [one for one in group.scenarios if not options.only or one.number in options.only])
    ]
    part = "short" if options.short else "full"
    if options.jobs > 1:
        say(f"seed {options.seed}; {scale.people} recipients a campaign")
        say(f"     {'':<6} " + " ".join(f"{column[:9]:>9}" for column in COLUMNS))
    if options.jobs > 1 and len(groups) > 1:
        scenarios = await beside_each_other(options, [chosen for _, chosen in groups])
    else:
        scenarios = {}
        for group, chosen in groups:
            for scenario, result in zip(chosen, await run_group(group, chosen, scale, options.seed), strict=True):
                about = {"name": result.name, "people": scale.people, "seed": options.seed}
                scenarios[scenario.number] = {**about, **result.as_json()}
    report: dict[str, Any] = {
        "command": " ".join(["python -m tests.chaos", *sys.argv[1:]]),
        "machine": {"platform": platform.platform(), "python": platform.python_version(), "cpus": os.cpu_count()},
        "seconds": round(time.monotonic() - begun_s, 1),
        "scenarios": scenarios,
    }
    broken = [number for number, found in scenarios.items() if found["broken"]]
    keep(options.out, part, report)
    if options.jobs > 1:
        say(f"{len(scenarios)} scenarios in {time.monotonic() - begun_s:.0f} s; written to {options.out}")
        say(f"BROKEN: {', '.join(broken)}" if broken else "Every promise held.")
    return 1 if broken else 0


def share_of_ports(index: int, count: int) -> dict[str, str]:
    """The environment of one of some processes that take ports beside each other: named as pytest names its workers."""
    return {**os.environ, "PYTEST_XDIST_WORKER": f"gw{index}", "PYTEST_XDIST_WORKER_COUNT": str(count)}


async def beside_each_other(options: argparse.Namespace, groups: Sequence[Sequence[Scenario]]) -> dict[str, Any]:
    """Run each group in a process of its own, some at a time; gives the results of all."""
    places = asyncio.Semaphore(options.jobs)
    found: dict[str, Any] = {}

    async def run_one(index: int, scenarios: Sequence[Scenario], out: Path) -> None:
        only = [scenario.number for scenario in scenarios]
        more = [*(["--short"] if options.short else []), *(["--people", str(options.people)] if options.people else [])]
        async with places:
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.chaos", "--jobs", "1", "--seed", str(options.seed), "--out", str(out),
                *more, "--only", *only, stdout=asyncio.subprocess.PIPE, env=share_of_ports(index, len(groups)),
            )  # fmt: skip
            if child.stdout is not None:
                async for text in child.stdout:
                    say(text.decode(errors="replace").rstrip("\n"))
            status = await child.wait()
        if out.exists():
            found.update(json.loads(out.read_text())["short" if options.short else "full"]["scenarios"])
        for number in set(only) - found.keys():
            found[number] = {"name": number, "broken": [f"the process of its world ended with status {status}"]}

    with tempfile.TemporaryDirectory(prefix="hayabin-chaos-results-") as folder:
        await asyncio.gather(*(run_one(n, one, Path(folder) / f"{n}.json") for n, one in enumerate(groups)))
    return found
