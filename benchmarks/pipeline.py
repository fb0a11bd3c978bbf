"""The whole way of a message at speed: launch → last mail in Debian's ``smtp-sink``, beside what others do.

One command: ``python -m benchmarks.pipeline [--short] [--emails N] [--rounds N] [--flame] [--out FILE]``; progress on
stderr, a table of goals and ``benchmarks/out/pipeline.json`` at the end. Every mail is the 20 KB personalised
newsletter with 12 tracked links; PostgreSQL with fsync, RabbitMQ with quorum queues and confirms; all of it on this
machine.

1. One campaign of 200,000, signed with RSA-2048: rate, CPU of each process an email, memory, time to the first mail.
2. Three rounds, in turn and in a changing order, each into the same sink: ours with RSA-2048 (25,000), ours with
   Ed25519 beside it (25,000), and over ``smtp-source`` with 100 sessions, with one of our mails as it arrived but
   unsigned: Postfix (6,000), Postfix with OpenDKIM (2,500), Haraka (6,000), Haraka with its DKIM plugin (4,000), and no
   relay at all, which is the limit (40,000). Everybody is warmed up, and everybody's mails are verified, before.
3. py-spy looks at the dispatcher and a renderer during 20,000 more mails: CPU of each step, and with ``--flame`` drawn
   as ``docs/performance/flame-*.svg``. A short run does so with ``--flame`` only.

A whole run took 21 minutes on two cores with three rounds, most of them ours (``benchmarks/out/pipeline.json``).
Units: seconds; microseconds of CPU (user + system) an email.
"""

import argparse
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.pipeline_parts import comparison, source
from benchmarks.pipeline_parts.audience import sending_domain
from benchmarks.pipeline_parts.bench import DOUBLE, LIMIT, OURS, Bench, Sizes, say, seed, warm_up
from benchmarks.pipeline_parts.counting_sink import counting_sink
from benchmarks.pipeline_parts.haraka_relay import running_haraka
from benchmarks.pipeline_parts.look import FLAMES, look
from benchmarks.pipeline_parts.ours import Shape, running_ours
from benchmarks.pipeline_parts.postfix_relay import running_postfix
from benchmarks.pipeline_parts.signing_key import RSA, SigningKey
from benchmarks.pipeline_parts.source import Relay
from benchmarks.report import ROOT, Report, begin, parser
from tests.support.instances import free_port

RATE_GOAL_PER_S = 3000
CPU_GOAL_US = 620
RATIO_GOALS = {"postfix": 4, "postfix_opendkim": 10, "haraka_dkim": 6}


WHOLE = Sizes(
    main=200_000,
    rounds={
        OURS: 25_000,
        "postfix": 6_000,
        "postfix_opendkim": 2_500,
        DOUBLE: 25_000,
        LIMIT: 40_000,
        "haraka": 6_000,
        "haraka_dkim": 4_000,
    },
    warm_up=1_000,
    profiled=20_000,
)
SHORT = Sizes(main=1_000, rounds=dict.fromkeys(WHOLE.rounds, 100) | {OURS: 500, DOUBLE: 500}, warm_up=200, profiled=500)


def run(sizes: Sizes, shape: Shape, options: argparse.Namespace, report: Report) -> dict[str, Any]:
    """Measure everything."""
    sink_port = free_port()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hayabin-bench-")))
        say("starting")
        ours = stack.enter_context(running_ours(folder, shape, sink_port))
        key = SigningKey.made_for(sending_domain("warm"), RSA)
        relays = {LIMIT: Relay(LIMIT, sink_port, dict)}
        for relay in (running_postfix, running_haraka):
            for signing in (None, key):
                started = stack.enter_context(relay(sink_port, signing))
                relays[started.name] = started
        bench = Bench(ours, relays, sink_port, folder / "mail", {}, sizes)
        sizes_bytes = warm_up(bench, key)
        main = seed(bench)
        with counting_sink(sink_port) as sink:
            whole = ours.send(main, sink)
            memory = ours.memory()
            say(f"{main.emails} mails: {whole['emails_per_s']}/s, {whole['cpu_us_per_email_total']} us of CPU each")
            rounds = [bench.round(number, sink) for number in range(options.rounds)]
            seen = look(bench, sink, folder, whole, draw=options.flame) if options.flame or not options.short else {}
    ratios = judge(report, whole, rounds)
    return {
        "main": {**whole, **memory},
        "ratios": ratios,
        "medians": comparison.medians(rounds),
        "steps": seen,
        "mail_bytes_on_the_wire": sizes_bytes,
        "sessions_of_smtp_source": source.SESSIONS,
        "renderers": shape.renderers,
        "dispatchers": 1,
        "connections_to_the_sink": shape.connections,
        "postgres": "fsync on, synchronous_commit on",
        "broker": "rabbitmq quorum queues, publisher confirms",
        "rounds": rounds,
    }


def judge(report: Report, whole: dict[str, Any], rounds: list[dict[str, dict[str, Any]]]) -> dict[str, float]:
    """Hold the figures against the goals; gives the ratios."""
    rate, cpu_us = whole["emails_per_s"], whole["cpu_us_per_email_total"]
    report.goal("main", "rate", f"{rate:.0f}/s", f">= {RATE_GOAL_PER_S}/s", met=rate >= RATE_GOAL_PER_S)
    shown = f"{cpu_us:.0f} us, {whole['cpu_us_per_email_without_sink']:.0f} us without the sink"
    report.goal("main", "CPU of an email", shown, f"<= {CPU_GOAL_US} us", met=cpu_us <= CPU_GOAL_US)
    others = [name for name in rounds[0] if name != OURS]
    ratios = {f"{OURS} / {name}": round(comparison.ratio(rounds, OURS, name), 3) for name in others}
    for name, goal in RATIO_GOALS.items():
        times = ratios[f"{OURS} / {name}"]
        report.goal("rounds", f"rate over {name}", f"{times:.1f} x", f">= {goal} x", met=times >= goal)
    return ratios


def main() -> None:
    """Measure, print, write."""
    options = parser("pipeline", __doc__)
    options.add_argument("--emails", type=int, help=f"recipients of the main measure ({WHOLE.main})")
    options.add_argument("--rounds", type=int, help="rounds beside the peers (3; short: 1)")
    options.add_argument("--renderers", type=int, default=2)
    options.add_argument("--connections", type=int, default=16, help="of the dispatcher to the sink")
    options.add_argument("--flame", action="store_true", help=f"write flame graphs to {FLAMES.relative_to(ROOT)}")
    arguments = options.parse_args()
    arguments.rounds = arguments.rounds or (1 if arguments.short else 3)
    sizes = SHORT if arguments.short else WHOLE
    sizes = replace(sizes, main=arguments.emails or sizes.main)
    report = begin("pipeline", arguments)
    report.write(run(sizes, Shape(arguments.renderers, arguments.connections), arguments, report))


if __name__ == "__main__":
    main()
