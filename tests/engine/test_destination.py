"""A destination whose gate is late or has closed, and one at which we fail ourselves."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from hayabin.domain.message import MessageState
from services.dispatcher.batch import TakenOver
from services.dispatcher.control import Control
from services.dispatcher.daily import DailyCaps
from services.dispatcher.dane import Dane
from services.dispatcher.destination import Destination
from services.dispatcher.dns_lookup import DnsLookup
from services.dispatcher.gate import Gate, stop
from services.dispatcher.lane import Rules
from services.dispatcher.lanes import Lanes
from services.dispatcher.outcomes import OutcomeWriter
from services.dispatcher.policy import load_policies
from services.dispatcher.rates import NS
from services.dispatcher.reporting import Reporter
from services.dispatcher.route import MxHost, Route
from services.dispatcher.settings import Source
from services.dispatcher.surroundings import Patience, Retrying, Surroundings
from services.dispatcher.suspensions import Suspensions
from services.dispatcher.tls_plan import TlsPlanner
from tests.engine.test_waiting_mail import batch
from tests.support.scripted_mx import Listener, ScriptedMx
from tests.support.waiting import eventually

NOBODY = cast("Any", None)  # the database: none of this gets as far


class Clock:
    """Time that the test moves, and how often it was asked for; somebody who asks without end is stopped."""

    asked = 0
    ns = 10**12

    def __call__(self) -> int:
        """Tell the time."""
        self.asked += 1
        assert self.asked < 5000, "it spins"
        return self.ns


@asynccontextmanager
async def destination(**differs: Any) -> AsyncIterator[tuple[Destination, ScriptedMx]]:
    """A destination of one host, without a database; ``differs`` from what a dispatcher has."""
    suspensions = Suspensions("main")
    control = Control(NOBODY, "main", "d", load_policies(), suspensions, DailyCaps(NOBODY))
    control.sources = (Source("127.0.0.9", "mta.example.jp"),)
    writer = OutcomeWriter(NOBODY)
    async with ScriptedMx(Listener()) as mx:
        parts: dict[str, Any] = {
            "gate": Gate(NOBODY, "d"),
            "planner": TlsPlanner(Dane(DnsLookup(("127.0.0.1:1",), timeout_s=0.1))),
            "lanes": Lanes(Rules(suspensions, control.daily_caps)),
            **differs,
        }
        around = Surroundings(
            **parts,
            control=control,
            writer=writer,
            reporter=Reporter(writer),
            retrying=Retrying((), 3600),
            patience=Patience(),
            smtp_port=mx.port,
            stopping=asyncio.Event(),
            connections=asyncio.Semaphore(9),
            connecting=asyncio.Semaphore(9),
            taken_over=TakenOver(100),
        )
        route = Route("example.com", None, (MxHost("mx.example.com", 10, ("127.0.0.1",)),))
        one = Destination("mx.example.com", route, None, around)
        yield one, mx
        around.stopping.set()
        one.give_back()
        one.cut_short()
        await asyncio.gather(*one._carriers, return_exceptions=True)


@pytest.mark.parametrize("stopping", [False, True])
async def test_destination_gate_closed_connection_ends_and_mails_go_back(*, stopping: bool) -> None:
    """Claims that nobody answers any more are not asked for again and again; what waits goes back when we stop."""
    clock = Clock()
    gate = Gate(NOBODY, "d")
    running = asyncio.create_task(gate.run())
    await asyncio.sleep(0)
    await stop(running)
    lanes = Lanes(Rules(Suspensions("main"), lambda *_: (), clock))
    async with destination(gate=gate, lanes=lanes) as (one, mx):
        jobs = batch(1, 3)
        jobs[0].batch.lease_expires_s = math.inf
        one.put(jobs)
        if stopping:
            one.around.stopping.set()
        await asyncio.wait(list(one._carriers), timeout=3)
        assert mx.record.connections == 1
        assert mx.entries == []
        assert clock.asked < 200
        assert len(one.waiting) == (0 if stopping else 3)
        assert jobs[0].batch.given_back == stopping


async def test_destination_at_which_we_fail_rests_and_its_claims_end() -> None:
    """A fault of ours while connecting is one attempt: it is not made ten times a second, with the mails held."""
    async with destination(planner=None) as (one, _):
        jobs = batch(1, 2)
        jobs[0].batch.launched_at = datetime.now(UTC)
        for job in jobs:
            job.claim()
        one.again(jobs)
        one.grow()
        await asyncio.wait(list(one._carriers), timeout=3)
        await one.around.finished()
        assert one.resting_until() is not None
        assert one.idle
        reports = one.around.writer._reports
        assert [report.outcome.state for report in reports] == [MessageState.DEFERRED] * 2
        assert {report.outcome.reply for report in reports} == {"the dispatcher failed to connect"}


async def test_destination_gate_that_answers_late_begins_no_more_than_the_rate_lets() -> None:
    """Mails that were let begin before the database went away count as begun when they do."""
    clock, gate = Clock(), Gate(NOBODY, "d")
    lanes = Lanes(Rules(Suspensions("main"), lambda *_: (), clock))
    async with destination(gate=gate, lanes=lanes) as (one, mx):
        control = one.around.control
        control.policies = control.shipped.with_overrides({"default": {"rate_per_s": 1, "burst": 4}})
        jobs = batch(1, 4)
        jobs[0].batch.lease_expires_s = math.inf
        one.put(jobs)
        await eventually(lambda: _asked(gate), lambda asked: asked == 1)
        clock.ns += 100 * NS
        ids = [job.message_id for job in jobs]
        gate._waiting[0].answer.set_result({i: job.recipient for i, job in zip(ids, jobs, strict=True)})
        await eventually(lambda: _stored(mx), lambda stored: stored == 4)
        (lane,) = one.lanes()
        assert lane.grant(4) == 0, "the four have used up the burst"


async def _asked(gate: Gate) -> int:
    return len(gate._waiting)


async def _stored(mx: ScriptedMx) -> int:
    return len(mx.entries)
