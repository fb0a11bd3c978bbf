"""Wiring of the bounce service: ``python -m services.bounce.main``.

Promises: on SIGTERM no connection is taken any more, mails in hand come to their answer, reports in hand are projected
or go back to the belt.
"""

import asyncio

from hayabin.broker import Broker, Subscription, connect
from hayabin.broker.topology import EVENTS_BOUNCE, EVENTS_DELIVERY, events_queue
from hayabin.database.engine import Database, Pool
from hayabin.domain.token import TokenRing
from hayabin.lifecycle import Process, run
from hayabin.settings import token_ring
from hayabin.telemetry.logging import get_logger
from services.bounce.in_hand import InHand
from services.bounce.intake import Intake
from services.bounce.peer_limits import InboundLimits
from services.bounce.projection import Reports
from services.bounce.refusals import Refusals
from services.bounce.settings import BounceSettings
from services.bounce.smtp_server import InboundOptions, InboundServer

POOL_SIZE = 6
GRACE_S = 10.0


async def serve(process: Process, settings: BounceSettings) -> None:
    """Run until told to stop."""
    started = asyncio.Event()
    process.ready("started", lambda: _is_set(started))
    async with (
        Database(settings.database_url.get_secret_value(), name="bounce", size=POOL_SIZE) as database,
        connect(settings.broker_url.get_secret_value(), name=process.instance, patient=True) as broker,
    ):
        intake = Intake(broker)
        server = InboundServer(inbound_options(settings), intake.take, intake.refused)
        port = await server.start()
        in_hand = InHand()
        subscriptions = await _subscribe(broker, database.pool, token_ring(settings), in_hand, settings.bounce_prefetch)
        process.ready("broker", broker.healthy)
        process.ready("database", database.healthy)
        process.ready("smtp", lambda: _listening(server))
        started.set()
        get_logger().info("bounce_started", port=port)
        await process.stopping.wait()
        await server.stop(min(GRACE_S, process.drain_timeout_s / 2))
        for subscription in subscriptions:
            await subscription.cancel()
        await in_hand.drained()


async def _subscribe(
    broker: Broker, pool: Pool, ring: TokenRing, in_hand: InHand, prefetch: int
) -> tuple[Subscription, Subscription]:
    reports = in_hand.consumer(Reports(pool, ring).handle)
    refusals = in_hand.consumer(Refusals(pool).handle)
    return (
        await broker.consume(events_queue(EVENTS_BOUNCE), reports, prefetch=prefetch),
        await broker.consume(events_queue(EVENTS_DELIVERY), refusals, prefetch=prefetch),
    )


async def _is_set(event: asyncio.Event) -> bool:
    return event.is_set()


async def _listening(server: InboundServer) -> bool:
    return server.is_listening()


def inbound_options(settings: BounceSettings) -> InboundOptions:
    """Where the server listens and for whom."""
    return InboundOptions(
        host=settings.bounce_host,
        port=settings.bounce_port,
        hostname=settings.hostname,
        domains=frozenset({settings.return_path_domain.lower()}),
        limits=InboundLimits(size_bytes=settings.bounce_size_bytes, connections=settings.bounce_connections),
    )


def main() -> None:
    """Entry of the process."""
    settings = BounceSettings()
    run("bounce", settings, lambda process: serve(process, settings))


if __name__ == "__main__":
    main()
