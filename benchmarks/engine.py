"""The delivery engine at work: its rate, its fairness, and how exactly it keeps limits, in one run.

One command: ``python benchmarks/engine.py [--short] [--only NAME] [--out FILE]``; progress on stderr, a table of goals
and ``benchmarks/out/engine.json`` at the end. PostgreSQL (fsync on) and RabbitMQ (quorum queues, publisher confirms)
are private ones; the dispatcher is the process of production; the receivers are sinks of ours in a process of their
own that answer late and count. Everything runs on the same machine, over loopback. Each module of
``benchmarks/engine_parts`` says what it measures. A whole run takes about twelve minutes, a short one about two or
three; the load average before and after each part tells whether something else ran beside it.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.chdir(ROOT)  # the parts are started as modules

from benchmarks.engine_parts import far_sinks, isolation, limits, warm_up, whole_system  # noqa: E402 — after the path
from benchmarks.engine_parts.load import load_average  # noqa: E402
from benchmarks.engine_parts.result import Goal, table  # noqa: E402
from benchmarks.engine_parts.stage import Servers, say  # noqa: E402
from tests.support.postgres import private_postgres  # noqa: E402
from tests.support.rabbitmq import private_rabbitmq  # noqa: E402

OUT = ROOT / "benchmarks" / "out" / "engine.json"
Measure = Callable[..., tuple[dict[str, Any], list[Goal]]]
PARTS: dict[str, Measure] = {
    "latency_sink": far_sinks.measure,
    "isolation": isolation.measure,
    "transactional": whole_system.measure_transactional,
    "small_beside_large": whole_system.measure_small,
    "warm_up": warm_up.measure,
    "limits": limits.measure,
}


def run(parts: dict[str, Measure], *, short: bool) -> dict[str, Any]:
    """Measure parts one after the other."""
    results: dict[str, Any] = {}
    goals: list[Goal] = []
    with (
        tempfile.TemporaryDirectory(prefix="hayabin-bench-") as folder,
        private_postgres(fsync=True) as postgres,
    ):
        for name, measure in parts.items():
            before, started = load_average(), time.monotonic()
            with private_rabbitmq() as rabbitmq:  # a new one: what a part leaves on the belt is not for the next
                results[name], met = measure(Servers(postgres, rabbitmq, Path(folder)), short=short)
            results[name]["part_s"] = round(time.monotonic() - started, 1)
            results[name]["load_average"] = {"before": before, "after": load_average()}
            goals += met
    return {"parts": results, "goals": [asdict(goal) for goal in goals], "table": table(goals).split("\n")}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="small numbers, about two minutes: shows that it runs")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part alone (may be given several times)")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    parts = {name: PARTS[name] for name in arguments.only or PARTS}
    started = time.monotonic()
    result = {
        "command": " ".join(["python benchmarks/engine.py", *sys.argv[1:]]),
        **run(parts, short=arguments.short),
        "seconds": round(time.monotonic() - started, 1),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()},
        "postgres": "fsync on, synchronous_commit on",
        "broker": "rabbitmq quorum queues, publisher confirms",
    }
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    say("")
    print("\n".join(result["table"]))


if __name__ == "__main__":
    main()
