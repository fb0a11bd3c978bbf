"""What the benchmarks' sink counts for who was sent twice, and how it is slowed down, as a real process."""

import asyncio
import contextlib
import smtplib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.engine_parts.sink_watch import SinkWatch
from tests.support.system import helper_process
from tests.support.waiting import eventually


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A sink that answers at once and counts every recipient."""
    listeners = [{"name": "near", "address": "127.0.1.1", "latency_s": 0}]
    config = {"listeners": listeners, "watched": "tx-", "every_recipient": True}
    with helper_process("benchmarks.engine_parts.sink", config, tmp_path) as ready:
        yield ready


def _send(port: int, *recipients: str, timeout_s: float = 30.0) -> None:
    with smtplib.SMTP("127.0.1.1", port, timeout=timeout_s) as client:
        for recipient in recipients:
            client.sendmail("a@b.example", recipient, "Subject: x\r\n\r\nbody\r\n")


async def test_sink_tells_who_got_a_mail_twice(sink: dict[str, Any]) -> None:
    """Each accepted mail counts for its recipient, over connections; a watched one is told with its time."""
    await asyncio.to_thread(_send, sink["port"], "u1@d.example", "tx-2@d.example")
    await asyncio.to_thread(_send, sink["port"], "u1@d.example", "u3@d.example")

    async with SinkWatch(sink["watching"]) as watch:
        whole = await watch.whole()

    assert (whole["accepted"], whole["recipients"], whole["twice"]) == (4, 3, ["u1@d.example"])
    assert list(whole["accepted_first"]) == ["tx-2@d.example"]
    assert whole["watched_accepted"] == 1
    assert whole["accepted_first"]["tx-2@d.example"] >= whole["first_seen"]["tx-2@d.example"]


async def test_sink_that_is_slowed_down_answers_later_and_counts_then(sink: dict[str, Any]) -> None:
    """The first mail after the order to pause is not accepted before the pause is lifted, and then it is at once."""
    async with SinkWatch(sink["watching"]) as watch:
        await watch.pace(0.001)
        sending = asyncio.create_task(asyncio.to_thread(_send, sink["port"], "u1@d.example"))
        await eventually(watch.whole, lambda seen: any(one["begun"] for one in seen["counts"]))
        assert (await watch.counts())["accepted"] == 0

        await watch.pace(0)
        await sending

        assert (await watch.counts())["accepted"] == 1


async def test_sink_whose_client_left_before_its_turn_accepted_nothing_from_it(sink: dict[str, Any]) -> None:
    """Nobody was told 250, so a second delivery of that mail is none that the sink may count as sent twice."""
    async with SinkWatch(sink["watching"]) as watch:
        await watch.pace(0.001)
        with contextlib.suppress(smtplib.SMTPServerDisconnected, TimeoutError):
            await asyncio.to_thread(_send, sink["port"], "u1@d.example", timeout_s=0.5)
        await eventually(watch.counts, lambda seen: seen["open_now"] == 0)
        await watch.pace(0)
        await asyncio.to_thread(_send, sink["port"], "u1@d.example")

        whole = await watch.whole()

    assert (whole["accepted"], whole["recipients"], whole["twice"]) == (1, 1, [])
