"""``python -m tests.chaos.model``: explore as far as asked, and print how many states that were, or a counterexample.

Fails: exit code 1 where a promise does not hold, 2 for options that there are not.
"""

import argparse
import sys
import time
from dataclasses import fields, replace

from tests.chaos.model.explore import explore
from tests.chaos.model.rules import Rules, Scope


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.model", description=(__doc__ or "").splitlines()[0])
    for one in fields(Scope):
        name = "--" + one.name.replace("_", "-")
        if one.type is bool:
            parser.add_argument(name, action=argparse.BooleanOptionalAction, default=one.default)
        else:
            parser.add_argument(name, type=int, default=one.default)
    parser.add_argument("--all", action="store_true", help="every fault and every operator")
    rules = sorted(one.name for one in fields(Rules))
    parser.add_argument("--break", dest="broken", choices=rules, action="append", default=[], metavar="RULE",
                        help="mutate the design: " + ", ".join(rules))  # fmt: skip
    return parser.parse_args()


def main() -> int:
    """Explore, with the states of each depth on stderr."""
    options = _options()
    scope = Scope(**{one.name: getattr(options, one.name) for one in fields(Scope)})
    if options.all:
        scope = replace(scope, **{one.name: True for one in fields(Scope) if one.type is bool})
    begun_s = time.monotonic()

    def progress(states: int, depth: int) -> None:
        sys.stderr.write(f"depth {depth}: {states} states, {time.monotonic() - begun_s:.0f} s\n")

    found = explore(replace(Rules(), **dict.fromkeys(options.broken, False)), scope, progress)
    if found.counterexample is not None:
        sys.stdout.write(f"{found.counterexample}\n")
    took_s = time.monotonic() - begun_s
    sys.stdout.write(f"{found.states} states, {found.steps} steps, depth {found.depth}, {took_s:.1f} s\n")
    return 1 if found.counterexample else 0


if __name__ == "__main__":
    raise SystemExit(main())
