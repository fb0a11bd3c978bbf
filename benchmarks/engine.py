"""The delivery engine at work: its rate, its fairness, and how exactly it keeps limits, in one run.

One command: ``python -m benchmarks.engine [--short] [--only NAME] [--out FILE]``; progress on stderr, a table of goals
and ``benchmarks/out/engine.json`` at the end. PostgreSQL (fsync on) and RabbitMQ (quorum queues, publisher confirms)
are private ones; the dispatcher is the process of production; the receivers are sinks of ours in a process of their
own that answer late and count. Everything runs on the same machine, over loopback. Each module of
``benchmarks/engine_parts`` says what it measures. A whole run takes about twelve minutes, a short one about two or
three; the load average before and after each part tells whether something else ran beside it.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.engine_parts import far_sinks, isolation, limits, warm_up, whole_system
from benchmarks.engine_parts.stage import Servers
from benchmarks.processes import load_average
from benchmarks.report import Goal, begin, parser
from tests.support.postgres import private_postgres
from tests.support.rabbitmq import private_rabbitmq

Measure = Callable[..., tuple[dict[str, Any], list[Goal]]]
PARTS: dict[str, Measure] = {
    "latency_sink": far_sinks.measure,
    "isolation": isolation.measure,
    "transactional": whole_system.measure_transactional,
    "small_beside_large": whole_system.measure_small,
    "warm_up": warm_up.measure,
    "limits": limits.measure,
}


def run(parts: dict[str, Measure], *, short: bool) -> tuple[dict[str, Any], list[Goal]]:
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
    return results, goals


def main() -> None:
    """Measure, print, write."""
    options = parser("engine", __doc__)
    options.add_argument("--only", choices=PARTS, action="append", help="this part alone (may be given several times)")
    arguments = options.parse_args()
    report = begin("engine", arguments)
    results, report.goals = run({name: PARTS[name] for name in arguments.only or PARTS}, short=arguments.short)
    report.write(
        {
            "postgres": "fsync on, synchronous_commit on",
            "broker": "rabbitmq quorum queues, publisher confirms",
            "parts": results,
        }
    )


if __name__ == "__main__":
    main()
