"""The command ``hayabin`` run as people run it, beside servers of the test's event loop.

Promises: a thread of its own, so the test's servers go on serving; the environment has no setting but those given.
"""

import asyncio
import os
import re
from dataclasses import dataclass

from click.testing import CliRunner

from services.standalone.command import hayabin

_TIME = re.compile(r"^ *\d+ ms  ")


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command came to; ``lines`` are those of standard output, without the time before them."""

    code: int
    lines: list[str]
    error: str


async def run_command(*words: str, **settings: str) -> Ran:
    """Run it; ``settings`` are variables without their prefix, in lower case."""
    env: dict[str, str | None] = {name: None for name in os.environ if name.startswith("HAYABIN_")}
    env |= {f"HAYABIN_{name.upper()}": value for name, value in settings.items()}
    result = await asyncio.to_thread(CliRunner().invoke, hayabin, words, env=env)
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    return Ran(result.exit_code, [_TIME.sub("", line) for line in result.stdout.splitlines()], result.stderr.strip())
