"""Processes with a clock of their own: they see the shift and the jump, and their timers do not."""

import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.support.postgres import private_postgres
from tests.support.shifted_clock import ARRIVES_WITHIN_S, LEFT_BEHIND, SHARED_MEMORY, ShiftedClock, shifted_clock
from tests.support.waiting import eventually

HOUR_S = 3600.0
NEAR_S = 30.0  # between two looks on a busy machine

# Prints, once per line of its input, what it sees of time; and how long each way of waiting for 0.2 s took.
CHILD = """
import asyncio, datetime, json, queue, sys, threading, time, uvloop

async def wait_twice():
    await asyncio.sleep(0.1)
    try:
        await asyncio.wait_for(asyncio.Event().wait(), 0.1)
    except TimeoutError:
        pass

def get():
    try:
        queue.Queue().get(timeout=0.2)
    except queue.Empty:
        pass

WAYS = {
    "asyncio": lambda: asyncio.run(wait_twice()), "uvloop": lambda: uvloop.run(wait_twice()),
    "queue": get, "event": lambda: threading.Event().wait(0.2), "sleep": lambda: time.sleep(0.2),
}
for line in sys.stdin:
    took = {}
    for name, way in WAYS.items():
        started = time.monotonic()
        way()
        took[name] = time.monotonic() - started
    seen = {"time": time.time(), "datetime": datetime.datetime.now(datetime.UTC).timestamp()}
    print(json.dumps({"seen": seen, "monotonic": time.monotonic(), "took": took}), flush=True)
"""


class Child:
    """A Python process under a shifted clock."""

    def __init__(self, clock: ShiftedClock) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD],
            env={**os.environ, **clock.python_environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def look(self) -> dict[str, Any]:
        """What it sees now."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        seen: dict[str, Any] = json.loads(self.process.stdout.readline())
        return seen

    def end(self) -> None:
        """Kill it, so that it has no time to clean up."""
        self.process.kill()
        self.process.communicate()


@pytest.mark.parametrize("jump_s", [-HOUR_S, HOUR_S])
def test_python_under_a_shifted_clock_sees_the_shift_and_the_jump_and_waits_as_ever(jump_s: float) -> None:
    """The time of day is shifted, then jumps while the process runs; no way of waiting takes notice, nothing is left."""
    with shifted_clock(HOUR_S) as clock:
        child = Child(clock)
        try:
            for shift_s in (HOUR_S, HOUR_S + jump_s):
                if clock.shift_s != shift_s:
                    clock.shift(shift_s)
                    time.sleep(ARRIVES_WITHIN_S)
                looked = child.look()
                for seen in looked["seen"].values():
                    assert seen - time.time() == pytest.approx(shift_s, abs=NEAR_S)
                assert looked["monotonic"] == pytest.approx(time.monotonic(), abs=NEAR_S)
                for way, took_s in looked["took"].items():
                    assert 0.19 < took_s < 5, way
        finally:
            child.end()
    assert not [
        left for left in SHARED_MEMORY.glob(LEFT_BEHIND) if not Path(f"/proc/{left.name.rpartition('_')[2]}").exists()
    ]


async def test_postgres_under_a_shifted_clock_sees_the_shift_and_the_jump() -> None:
    """``now()`` is the shifted time, in open and in new sessions; a timeout comes in time; it is stopped and started."""
    with shifted_clock(-2 * HOUR_S) as clock, private_postgres(fsync=False, clock=clock) as server:
        connection = await asyncpg.connect(server.url)

        async def seen_s() -> float:
            at: float = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
            return at - time.time()

        assert await seen_s() == pytest.approx(-2 * HOUR_S, abs=NEAR_S)
        other = await asyncpg.connect(server.url)
        for shift_s in (HOUR_S, -HOUR_S):
            clock.shift(shift_s)
            await eventually(seen_s, partial(is_near, shift_s), timeout_s=ARRIVES_WITHIN_S)
        assert await other.fetchval("SELECT extract(epoch FROM now())::float8") - time.time() < -HOUR_S / 2
        started = time.monotonic()
        await other.execute("SET statement_timeout = '300ms'")
        with pytest.raises(asyncpg.QueryCanceledError):
            await other.execute("SELECT pg_sleep(60)")
        assert 0.29 < time.monotonic() - started < 10
        await other.close()
        await connection.close()
        server.stop()
        server.start()
        connection = await asyncpg.connect(server.url)
        assert is_near(-HOUR_S, await seen_s())
        await connection.close()


def is_near(wanted_s: float, seen_s: float) -> bool:
    """Whether it is the same shift, seen a little later."""
    return abs(wanted_s - seen_s) < NEAR_S
