"""Wiring of the dispatcher: ``python -m services.dispatcher.main``.

Promises: nothing is consumed before the source IPs are proven; SIGTERM finishes what is claimed, writes its outcomes,
gives the rest back and ends with no claim open.
"""

import asyncio

from hayabin.broker import Broker, Subscription, connect
from hayabin.broker.consumer import handle
from hayabin.broker.topology import dispatch_queue, pool_queues
from hayabin.database import instances
from hayabin.database.engine import Database
from hayabin.domain.lane import lanes
from hayabin.lifecycle import Process, run
from hayabin.telemetry.logging import get_logger
from services.dispatcher import sources
from services.dispatcher.destination import Surroundings
from services.dispatcher.gate import DATABASE_AWAY, Gate, stop
from services.dispatcher.lanes import LaneLimits
from services.dispatcher.outcomes import OutcomeWriter
from services.dispatcher.policy import load_policies
from services.dispatcher.reporting import Reporter
from services.dispatcher.resolver import Resolver, ResolverParameters
from services.dispatcher.settings import DispatcherSettings
from services.dispatcher.spans import Sampling
from services.dispatcher.worker import Worker

SHARE_S = 10.0


async def serve(process: Process, settings: DispatcherSettings) -> None:
    """Run until told to stop."""
    sources.prove(settings.sources)
    async with (
        Database(settings.database_url.get_secret_value(), name="dispatcher", size=6, look_ups=True) as database,
        connect(settings.broker_url.get_secret_value(), name=process.instance) as broker,
    ):
        await broker.declare(pool_queues(settings.pool))
        await instances.beat(database.pool, process.instance, "dispatcher")
        await sources.announce(database.pool, settings.pool, settings.sources, process.instance)
        worker = build(process, settings, database)
        parts = [
            asyncio.create_task(part)
            for part in (
                worker.around.gate.run(),
                worker.around.writer.run(),
                worker.tick_for_ever(),
                _beat_for_ever(process, settings, database, worker),
            )
        ]
        process.ready("broker", broker.healthy)
        process.ready("database", lambda: database.pool.fetchval("SELECT true"))
        subscriptions = await _subscribe(broker, worker, settings)
        get_logger().info("dispatcher_started", pool=settings.pool, sources=[s.ip for s in settings.sources])
        await process.stopping.wait()
        await asyncio.gather(*(subscription.cancel() for subscription in subscriptions))
        await worker.drain()
        for part in parts:
            await stop(part)
        await instances.leave(database.pool, process.instance)


def build(process: Process, settings: DispatcherSettings, database: Database) -> Worker:
    """Put the parts together."""
    Sampling.ratio = settings.trace_sample_ratio
    writer = OutcomeWriter(database.pool)
    around = Surroundings(
        gate=Gate(database.pool, process.instance),
        writer=writer,
        reporter=Reporter(writer),
        limits=LaneLimits(),
        sources=settings.sources,
        smtp_port=settings.smtp_port,
        max_wait_s=settings.max_wait_s,
        idle_s=settings.idle_s,
        stopping=process.stopping,
        connections=asyncio.Semaphore(settings.max_connections),
    )
    resolver = Resolver(ResolverParameters(servers=settings.resolvers, allow_private=settings.allow_private_mx))
    policies = load_policies(settings.policy_dir)
    return Worker(around, resolver, policies, settings.retry_delays, settings.retry_max_age_s)


async def _subscribe(broker: Broker, worker: Worker, settings: DispatcherSettings) -> list[Subscription]:
    on_delivery = handle(worker.handle)
    return [
        await broker.consume(dispatch_queue(settings.pool, lane), on_delivery, prefetch=settings.dispatch_prefetch)
        for lane in lanes()
    ]


async def _beat_for_ever(process: Process, settings: DispatcherSettings, database: Database, worker: Worker) -> None:
    shared_s = 0.0
    while True:
        try:
            await instances.beat(database.pool, process.instance, "dispatcher")
            shared_s += instances.BEAT_S
            if shared_s >= SHARE_S:
                shared_s = 0.0
                await sources.announce(database.pool, settings.pool, settings.sources, process.instance)
                await sources.share_providers(database.pool, worker.learnt)
        except DATABASE_AWAY as error:
            get_logger().warning("beat_failed", error=repr(error))
        await asyncio.sleep(instances.BEAT_S)


def main() -> None:
    """Entry of the process."""
    settings = DispatcherSettings()
    run("dispatcher", settings, lambda process: serve(process, settings))


if __name__ == "__main__":
    main()
