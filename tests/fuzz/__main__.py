"""Fuzz the parsers: ``python -m tests.fuzz [--inputs 1000000] [--seed N] [NAME ...]``.

Promises: prints the seed before it begins, how long it took and how long the slowest input, and ends with 1 and the
input in hex at the first that is not as it should be.
"""

import argparse
import secrets
import sys
import time
import traceback

from tests.fuzz.inputs import made_from
from tests.fuzz.targets import SECONDS_MAX, TARGETS, Target


def say(text: str) -> None:
    """One line of the output."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def failure_of(target: Target, content: bytes) -> tuple[str, float]:
    """What is wrong with how the parser takes an input, empty if nothing; and the seconds that it took."""
    begun = time.thread_time()
    try:
        target.run(content)
    except Exception:  # noqa: BLE001 - whatever it is, is what we look for
        return traceback.format_exc(), time.thread_time() - begun
    took_s = time.thread_time() - begun
    return f"took {took_s:.2f} s of {len(content)} bytes" if took_s > SECONDS_MAX else "", took_s


def fuzz(name: str, count: int, seed: int) -> str:
    """Feed a parser; the first failure with its input, or nothing."""
    target = TARGETS[name]
    begun, slowest = time.monotonic(), (0.0, 0)
    for number, content in enumerate(made_from(target.seeds(), count, seed)):
        failure, took_s = failure_of(target, content)
        slowest = max(slowest, (took_s, len(content)))
        if failure:
            shown = content.hex() if len(content) < 2000 else f"{content[:1000].hex()}… ({len(content)} bytes)"
            return f"{name}, seed {seed}, input {number}: {shown}\n{failure}"
        if number % 100_000 == 99_999:
            say(f"{name}: {number + 1} inputs, {time.monotonic() - begun:.0f} s")
    say(f"{name}: the slowest took {slowest[0] * 1000:.1f} ms of {slowest[1]} bytes")
    return ""


def main() -> int:
    """Feed those that are named, or all."""
    arguments = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    arguments.add_argument("names", nargs="*", metavar="NAME", help=", ".join(TARGETS))
    arguments.add_argument("--inputs", type=int, default=1_000_000)
    arguments.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    given = arguments.parse_args()
    for name in given.names or TARGETS:
        if name not in TARGETS:
            arguments.error(f"there is no {name!r}: {', '.join(TARGETS)}")
        say(f"{name}: {given.inputs} inputs, --seed {given.seed}")
        failure = fuzz(name, given.inputs, given.seed)
        if failure:
            sys.stderr.write(f"{failure}\n")
            return 1
    say("no crash, no input over time")
    return 0


if __name__ == "__main__":
    sys.exit(main())
