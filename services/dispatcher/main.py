"""Wiring of the dispatcher: ``python -m services.dispatcher.main``.

Promises: nothing is consumed before a source IP is proven; SIGTERM finishes what is claimed, writes its outcomes, gives
the rest back and ends with no claim open.
"""

import asyncio
from collections.abc import Awaitable, Callable

from hayabin.broker import Broker, connect
from hayabin.broker.consumer import handle
from hayabin.broker.topology import pool_queues
from hayabin.database import instances
from hayabin.database.engine import Database
from hayabin.database.installation import Watch, read_mark
from hayabin.domain.errors import TemporaryFailure
from hayabin.lifecycle import Process, run
from hayabin.telemetry.logging import get_logger
from services.dispatcher import lane_reports, sources
from services.dispatcher.batch import TakenOver
from services.dispatcher.consumption import Consumption
from services.dispatcher.control import Control
from services.dispatcher.daily import DailyCaps
from services.dispatcher.dane import Dane
from services.dispatcher.dns_lookup import DnsLookup
from services.dispatcher.gate import DATABASE_AWAY, Gate, stop
from services.dispatcher.lane import Rules
from services.dispatcher.lanes import Lanes
from services.dispatcher.mta_sts import FetchParameters, MtaSts, StsParameters
from services.dispatcher.outcomes import OutcomeWriter
from services.dispatcher.policy import load_policies
from services.dispatcher.proofs import Proofs
from services.dispatcher.reporting import Reporter
from services.dispatcher.resolver import Resolver, ResolverParameters
from services.dispatcher.settings import DispatcherSettings
from services.dispatcher.spans import Sampling
from services.dispatcher.sts_store import PostgresStsStore
from services.dispatcher.surroundings import Patience, Retrying, Surroundings
from services.dispatcher.suspensions import Suspensions
from services.dispatcher.tls_plan import TlsPlanner
from services.dispatcher.worker import Worker

SHARE_S = 10.0
DNS_TIMEOUT_S = 6.0


async def serve(process: Process, settings: DispatcherSettings) -> None:
    """Run until told to stop."""
    async with (
        Database(settings.database_url.get_secret_value(), name="dispatcher", size=8, look_ups=True) as database,
        connect(settings.broker_url.get_secret_value(), name=process.instance, patient=True) as broker,
    ):
        proofs = Proofs(
            database.pool,
            settings.pool,
            process.instance,
            settings.sources,
            settings.probes,
            settings.egress_timeout_s,
        )
        proofs.prove_own()
        watch = await _watch(database, broker)
        worker = build(process, settings, database, proofs, watch)
        around = worker.around
        await instances.beat(database.pool, process.instance, "dispatcher")
        await broker.declare(pool_queues(settings.pool))
        await sources.announce(database.pool, settings.pool, (), process.instance)
        await proofs.turn()
        await around.control.read()
        process.ready("broker", broker.healthy)
        process.ready("database", database.healthy)
        process.ready("source_ips", _holds(lambda: bool(proofs.proven())))
        consumption = Consumption(
            broker,
            around.control,
            around.lanes,
            handle(worker.handle),
            settings.dispatch_prefetch,
            process.stopping.is_set,
        )
        parts = [
            asyncio.create_task(part)
            for part in (
                around.gate.run(),
                around.writer.run(),
                worker.tick_for_ever(),
                proofs.prove_for_ever(),
                around.control.read_for_ever(),
                watch.read_for_ever(database.pool),
                around.control.caps.reserve_for_ever(),
                _every(instances.BEAT_S, lambda: instances.beat(database.pool, process.instance, "dispatcher")),
                _every(SHARE_S, lambda: sources.share_providers(database.pool, worker.learnt)),
                _every(
                    lane_reports.REPORT_S,
                    lambda: lane_reports.report(
                        database.pool, settings.pool, process.instance, around.lanes, worker.destinations.values()
                    ),
                ),
                _every(1.0, consumption.turn),
            )
        ]
        get_logger().info("dispatcher_started", pool=settings.pool, sources=[s.ip for s in around.control.sources])
        await _until_stop_or_end(process, parts)
        await stop(parts.pop())
        await consumption.cancel()
        await worker.drain()
        for part in parts:
            await stop(part)
        await _leave(process, database, worker, proofs)


async def _watch(database: Database, broker: Broker) -> Watch:
    """Know how far the installation has come, by the database and by the belt's mark, before anything is claimed."""
    watch = Watch()
    await watch.read(database.pool)
    while watch.pulse:  # else it never beat: there is no mark
        try:
            mark = read_mark(await broker.recall())
        except OSError as error:  # away, or others look at it
            get_logger().warning("mark_waits", error=repr(error))
            await asyncio.sleep(0.5)
        else:
            watch.pulse = max(watch.pulse, mark.pulse if mark else 0)
            break
    return watch


async def _until_stop_or_end(process: Process, parts: list[asyncio.Task[None]]) -> None:
    """Wait for the end; a part that ends by itself is reason to stop: its failure comes out when it is stopped."""
    stopping = asyncio.create_task(process.stopping.wait())
    await asyncio.wait({stopping, *parts}, return_when=asyncio.FIRST_COMPLETED)
    if not process.stopping.is_set():
        get_logger().error("part_ended", parts=[repr(part) for part in parts if part.done()])
        process.stopping.set()
    await stopping


async def _leave(process: Process, database: Database, worker: Worker, proofs: Proofs) -> None:
    """Take back what this process said of itself."""
    await worker.around.control.caps.give_back_all()
    await lane_reports.forget(database.pool, process.instance)
    await proofs.leave()
    await instances.leave(database.pool, process.instance)


def build(process: Process, settings: DispatcherSettings, database: Database, proofs: Proofs, watch: Watch) -> Worker:
    """Put the parts together."""
    Sampling.ratio = settings.trace_sample_ratio
    writer = OutcomeWriter(database.pool, transcripts=settings.transcript_days > 0, clock=watch.clock)
    suspensions = Suspensions(settings.pool)
    control = Control(
        database=database.pool,
        pool=settings.pool,
        instance=process.instance,
        shipped=load_policies(settings.policy_dir),
        suspensions=suspensions,
        caps=DailyCaps(database.pool, today=watch.clock.now),
        proven=proofs.proven,
    )
    lanes = Lanes(Rules(suspensions, control.daily_caps))
    control.on_plans = lanes.refresh
    lookup = DnsLookup(settings.resolvers, timeout_s=DNS_TIMEOUT_S, trust_ad=settings.dnssec)
    around = Surroundings(
        control=control,
        gate=Gate(database.pool, process.instance, watch),
        writer=writer,
        reporter=Reporter(writer, watch.clock),
        lanes=lanes,
        planner=TlsPlanner(Dane(lookup, port=settings.smtp_port), ca_file=settings.ca_file),
        retrying=Retrying(settings.retry_delays, settings.retry_max_age_s),
        patience=Patience(settings.max_wait_s, settings.idle_s),
        smtp_port=settings.smtp_port,
        stopping=process.stopping,
        connections=asyncio.Semaphore(settings.max_connections),
        connecting=asyncio.Semaphore(max(1, settings.max_connections // 2)),
        taken_over=TakenOver(settings.detached_mails),
    )
    resolver = Resolver(
        ResolverParameters(
            servers=settings.resolvers,
            allow_private=settings.allow_private_mx,
            ipv6=any(":" in source.ip for source in settings.sources),
            trust_ad=settings.dnssec,
            question_timeout_s=DNS_TIMEOUT_S,
        )
    )
    return Worker(around, resolver, watch.clock, _mta_sts(settings, lookup, database), settings.drain_timeout_s / 2)


def _mta_sts(settings: DispatcherSettings, lookup: DnsLookup, database: Database) -> MtaSts | None:
    if not settings.mta_sts:
        return None
    fetch = FetchParameters(
        port=settings.mta_sts_port, ca_file=settings.ca_file, allow_private=settings.allow_private_mx
    )
    return MtaSts(lookup, StsParameters(fetch), store=PostgresStsStore(database.pool))


def _holds(condition: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return condition()

    return check


async def _every(pause_s: float, turn: Callable[[], Awaitable[object]]) -> None:
    """Do something again and again; what fails, as when the broker is away, is logged and tried at the next turn."""
    while True:
        try:
            await turn()
        except (*DATABASE_AWAY, TemporaryFailure) as error:
            get_logger().warning("turn_failed", error=repr(error))
        except Exception:  # noqa: BLE001 - logged; a turn that fails must not be the last one
            get_logger().exception("turn_broken")
        await asyncio.sleep(pause_s)


def main() -> None:
    """Entry of the process."""
    settings = DispatcherSettings()
    run("dispatcher", settings, lambda process: serve(process, settings))


if __name__ == "__main__":
    main()
