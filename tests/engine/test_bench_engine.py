"""The benchmark of the engine: its arithmetic, its sink, and one of its measures in small."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.engine_parts import limits
from benchmarks.engine_parts.exactness import early_by_pace, early_by_window, most_in_window, percentile
from benchmarks.engine_parts.load import steady_rate
from benchmarks.engine_parts.sink_watch import SinkWatch
from benchmarks.engine_parts.stage import Servers
from tests.support.postgres import PostgresInstance
from tests.support.rabbitmq import RabbitInstance
from tests.support.system import helper_process

LATENCY_S = 0.1


def test_pace_kept_with_its_burst_is_not_early_and_one_more_is() -> None:
    """A burst of three, then one each tenth of a second, keeps to 10 a second; a fourth at once is a tenth early."""
    kept = [0.0, 0.0, 0.0, 0.1, 0.2, 0.3]
    assert early_by_pace(kept, 10, 3) == pytest.approx(0, abs=1e-9)
    assert early_by_pace([0.0, *kept], 10, 3) == pytest.approx(0.1)


def test_window_that_holds_one_too_many_is_early_by_what_is_missing() -> None:
    """Three mails a minute: the fourth may come 60 seconds after the first; at 59.5 it is half a second early."""
    assert early_by_window([0, 1, 2, 60, 61], 3, 60) == 0
    assert early_by_window([0, 1, 2, 59.5], 3, 60) == pytest.approx(0.5)
    assert early_by_window([0, 1], 3, 60) == 0
    assert most_in_window([0, 1, 2, 59.5], 60) == 4
    assert most_in_window([0, 1, 2, 60], 60) == 3


@pytest.mark.parametrize(("percent", "value"), [(50, 50), (99, 99), (100, 100), (0.5, 1)])
def test_percentile_is_the_nearest_rank(percent: float, value: int) -> None:
    """Of 1 to 100, in any order."""
    assert percentile(range(100, 0, -1), percent) == value


def test_steady_rate_leaves_out_begin_and_end() -> None:
    """A run that begins and ends slowly counts with its middle: 100 mails each tenth of a second."""
    tenths = [[0, 10], *([n, 100] for n in range(50, 60)), [90, 10]]
    assert steady_rate({"a": tenths[:4], "b": tenths[4:]}, 1020, part=(0.1, 0.9)) == pytest.approx(1000)


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A sink that answers after ``LATENCY_S``, and a dead address."""
    listeners = [{"name": "far", "address": "127.0.1.1", "latency_s": LATENCY_S}]
    config = {"listeners": listeners, "dead": ["127.0.1.9"], "watched": "tx-"}
    with helper_process("benchmarks.engine_parts.sink", config, tmp_path) as ready:
        yield ready


@pytest.mark.alone
async def test_sink_answers_pipelined_commands_in_order_a_latency_later(sink: dict[str, Any]) -> None:
    """Three commands in one write have their replies after one latency, not three; the content's follows another."""
    reader, writer = await asyncio.open_connection("127.0.1.1", sink["port"], local_addr=("127.0.0.51", 0))
    assert (await reader.readline()).startswith(b"220 ")
    begun = time.monotonic()
    writer.write(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<tx-1@d.example>\r\nDATA\r\n")
    assert [(await reader.readline())[:3] for _ in range(3)] == [b"250", b"250", b"354"]
    assert LATENCY_S <= time.monotonic() - begun < 2.5 * LATENCY_S
    for piece in (b"Subject: x\r\n\r\nbody\r", b"\n.", b"\r\n"):
        writer.write(piece)
        await asyncio.sleep(0.01)
    begun = time.monotonic()
    assert (await reader.readline()).startswith(b"250 ")
    async with SinkWatch(sink["watching"]) as watch:
        whole = await watch.whole()
        writer.write(b"QUIT\r\n")
        assert (await reader.readline()).startswith(b"221 ")
        assert await reader.read() == b""
        writer.close()
    assert whole["accepted"] == whole["most_open"] == 1
    assert [(one["source_ip"], len(one["begun"])) for one in whole["counts"]] == [("127.0.0.51", 1)]
    assert set(whole["first_seen"]) == {"tx-1@d.example"}


async def test_dead_address_of_the_sink_lets_nobody_connect(sink: dict[str, Any]) -> None:
    """Connecting hangs: no refusal, no connection."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await asyncio.open_connection("127.0.1.9", sink["port"])


@pytest.mark.alone
@pytest.mark.slow
def test_short_measure_of_limits_meets_its_goals(
    postgres: PostgresInstance, rabbitmq: RabbitInstance, tmp_path: Path
) -> None:
    """The measure of limits runs, sees mails from both source IPs, and its goals are met."""
    result, goals = limits.measure(Servers(postgres, rabbitmq, tmp_path), short=True)
    assert result["providers"]["gmail"]["source_ips"] == 2
    assert min(result["providers"]["gmail"]["mails"]) > 100
    assert [goal for goal in goals if not goal.met and "connections" in goal.what] == []
