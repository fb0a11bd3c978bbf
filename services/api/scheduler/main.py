"""Wiring of the scheduler: each duty is a loop of its own.

Promises: a duty that fails is tried again after a growing pause and never stops the others; SIGTERM lets each finish
its turn.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import asyncpg

from hayabin.broker import Broker, Outgoing, connect
from hayabin.database import activity, audience, outbox, signing_up
from hayabin.database.engine import AWAY, Database
from hayabin.database.instances import DEAD_AFTER_S
from hayabin.domain.campaign import RenderBelt
from hayabin.domain.errors import TemporaryFailure
from hayabin.lifecycle import Process, run
from hayabin.telemetry.logging import get_logger
from hayabin.telemetry.metrics import OUTBOX_AGE_SECONDS, OUTBOX_RELAYED
from services.api import quotas
from services.api.exports.runner import run_next_export
from services.api.imports.runner import run_next_import
from services.api.people_jobs.runner import drop_expired, run_next_person_job
from services.api.scheduler import audit_duty, forgetting, reconciler
from services.api.scheduler.feeder import Feeder
from services.api.scheduler.pulse import Pulse
from services.api.scheduler.schedules import launch_scheduled
from services.api.scheduler.settings import SchedulerSettings

_MAX_PAUSE_S = 10.0
PULSE_S = 2.0
_EXPECTED = (*AWAY, asyncpg.PostgresError, TemporaryFailure)


@dataclass(frozen=True, slots=True)
class Duty:
    """Something to do again and again: at once while it finds work, after ``idle_s`` otherwise."""

    name: str
    turn: Callable[[], Awaitable[object]]
    idle_s: float


async def keep_doing(duty: Duty, stopping: asyncio.Event) -> None:
    """Run a duty until the process stops; see the module."""
    pause_s = 0.0
    while not stopping.is_set():
        try:
            found = await duty.turn()
            pause_s = 0.0
        except _EXPECTED as error:
            pause_s = min(max(pause_s * 2, 0.2), _MAX_PAUSE_S)
            get_logger().warning("duty_failed", duty=duty.name, error=repr(error), pause_s=pause_s)
            found = None
        except Exception:  # noqa: BLE001 - logged; a duty must not stop the others
            pause_s = _MAX_PAUSE_S
            get_logger().exception("duty_broken", duty=duty.name, pause_s=pause_s)
            found = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s or (0.001 if found else duty.idle_s)):
                await stopping.wait()


async def relay_outbox(database: Database, broker: Broker, routing_key: str | None = None) -> int:
    """One turn of the outbox relay, of one routing key if given."""

    async def publish(rows: Sequence[outbox.OutboxRow]) -> None:
        await broker.publish([Outgoing(row.exchange, row.routing_key, row.body, row.headers) for row in rows])

    relayed = await outbox.relay(database.pool, publish, routing_key=routing_key)
    OUTBOX_RELAYED.inc(relayed)
    return relayed


async def watch_outbox(database: Database) -> None:
    """Export the age of the oldest outbox row."""
    age = await database.pool.fetchval("SELECT EXTRACT(EPOCH FROM now() - min(created_at))::float8 FROM outbox")
    OUTBOX_AGE_SECONDS.set(age or 0.0)


async def tidy_belt(database: Database, pulse: Pulse, policies: reconciler.Policies) -> None:
    """Feed again what fell off the belt, but not while the belt takes nothing: the outbox would only grow."""
    if not pulse.belt_problem:
        await reconciler.tidy_belt(database.pool, policies)


async def mourn(database: Database, pulse: Pulse, policies: reconciler.Policies) -> int:
    """Take up what dead dispatchers left, once nobody but they can be to blame for their silence."""
    if pulse.steady_s() < DEAD_AFTER_S:
        return 0
    await reconciler.bury(database.pool)
    return await reconciler.expire_lost_claims(database.pool, policies)


def duties(database: Database, broker: Broker, settings: SchedulerSettings, instance: str, pulse: Pulse) -> list[Duty]:
    """All that the scheduler does; ``pulse`` has had its first turn, so that a restored database was found out."""
    pool = database.pool
    feeder = Feeder(pool, broker, settings.belt_high_water)
    policies = settings.unknown_policies
    days = settings.transcript_days
    heads = audit_duty.HeadLog()
    return [
        Duty("pulse", _quietly(pulse.turn), PULSE_S),
        Duty("relay", lambda: relay_outbox(database, broker), 0.05),
        # beside the other, so that it does not wait for the confirms of bulk chunks
        Duty("relay_urgent", lambda: relay_outbox(database, broker, RenderBelt.TRANSACTIONAL), 0.02),
        Duty("fill", lambda: audience.fill_next(pool), 0.2),
        Duty("sweep_activity", _quietly(lambda: activity.sweep_next(pool)), 0.25),
        Duty("feed", _quietly(feeder.turn), 0.1),
        Duty("tidy_belt", _quietly(lambda: tidy_belt(database, pulse, policies)), 2.0),
        Duty("lost_claims", lambda: mourn(database, pulse, policies), 2.0),
        Duty("complete", lambda: reconciler.complete_campaigns(pool, policies), 0.5),
        Duty("reopen", _quietly(lambda: reconciler.reopen_campaigns(pool)), 30.0),
        Duty("cancel", lambda: reconciler.cancel_rows(pool), 0.5),
        Duty("fold", _quietly(lambda: reconciler.fold_counters(pool)), 0.5),
        Duty("forget", _quietly(lambda: forgetting.forget_old(pool)), 600.0),
        Duty("forget_transcripts", lambda: forgetting.forget_transcripts(pool, days), 3600.0 if days else 2.0),
        Duty("schedules", lambda: launch_scheduled(pool, pulse.known), 0.5),
        Duty("watch_outbox", _quietly(lambda: watch_outbox(database)), 2.0),
        Duty("quotas", lambda: quotas.settle(pool), 2.0),
        Duty("audit_link", lambda: audit_duty.link_lines(pool), 0.5),
        Duty("audit_heads", _quietly(lambda: heads.turn(pool)), 3600.0),
        Duty("sign_ups", lambda: signing_up.answer_received(pool), 0.5),
        Duty("imports", lambda: run_next_import(database, instance), 0.5),
        # beside it, so that a tenant's small file does not wait for another's large one
        Duty("imports_beside", lambda: run_next_import(database, instance, only_idle=True), 1.0),
        Duty("exports", lambda: run_next_export(database, instance), 0.5),
        Duty("people", lambda: run_next_person_job(database, instance, broker), 1.0),
        Duty("forget_people_exports", _quietly(lambda: drop_expired(pool)), 600.0),
    ]


def _quietly(turn: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[object]]:
    """A turn after which the duty always rests for its idle time."""

    async def quiet() -> None:
        await turn()

    return quiet


async def _first_turn(pulse: Pulse, stopping: asyncio.Event) -> None:
    """Know both witnesses before anything is done; the belt's counts only once it is back."""
    while not stopping.is_set():
        try:
            await pulse.turn()
        except _EXPECTED as error:
            get_logger().warning("first_pulse_waits", error=repr(error))
        else:
            if not pulse.belt_problem:
                return
        await asyncio.sleep(0.5)


def run_scheduler(settings: SchedulerSettings) -> None:
    """Run until told to stop; exits the interpreter."""

    async def main(process: Process) -> None:
        async with (
            Database(settings.database_url.get_secret_value(), name="scheduler", size=8) as database,
            connect(settings.broker_url.get_secret_value(), name=process.instance, patient=True) as broker,
        ):
            process.ready("broker", broker.healthy)
            process.ready("database", database.healthy)
            pulse = Pulse(database.pool, broker)
            await _first_turn(pulse, process.stopping)
            get_logger().info("scheduler_started")
            all_of_them = duties(database, broker, settings, process.instance, pulse)
            await asyncio.gather(*(keep_doing(duty, process.stopping) for duty in all_of_them))

    run("scheduler", settings, main)
