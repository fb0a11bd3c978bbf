"""Wiring of the renderer: ``python -m services.renderer.main``.

Promises: SIGTERM finishes the chunks in hand; what is not finished goes back to the belt.
"""

import asyncio
import contextlib

from hayabin.broker import connect
from hayabin.broker.consumer import handle
from hayabin.broker.topology import render_queue
from hayabin.database.engine import Database
from hayabin.database.installation import Watch
from hayabin.domain.campaign import RenderBelt
from hayabin.lifecycle import Process, run
from hayabin.settings import secret_bytes, token_ring
from hayabin.telemetry.logging import get_logger
from services.renderer.campaigns import Campaigns
from services.renderer.providers import KnownProviders
from services.renderer.settings import RendererSettings
from services.renderer.worker import Names, Worker

TRANSACTIONAL_PREFETCH = 16


async def serve(process: Process, settings: RendererSettings) -> None:
    """Run until told to stop."""
    async with (
        Database(settings.database_url.get_secret_value(), name="renderer", size=4) as database,
        connect(settings.broker_url.get_secret_value(), name=process.instance, patient=True) as broker,
    ):
        watch = Watch()
        await watch.read(database.pool)
        watching = asyncio.create_task(watch.read_for_ever(database.pool))
        worker = Worker(
            pool=database.pool,
            broker=broker,
            campaigns=Campaigns(database.pool, secret_bytes(settings.master_key), settings.render_fuel),
            providers=KnownProviders(database.pool),
            ring=token_ring(settings),
            names=Names(settings.public_url.rstrip("/"), settings.return_path_domain, settings.batch_mails),
            clock=watch.clock,
        )
        in_hand = 0
        idle = asyncio.Event()
        idle.set()

        async def counted(delivery: object) -> None:
            nonlocal in_hand
            in_hand += 1
            idle.clear()
            try:
                await on_delivery(delivery)  # type: ignore[arg-type]
            finally:
                in_hand -= 1
                if in_hand == 0:
                    idle.set()

        on_delivery = handle(worker.handle)
        process.ready("broker", broker.healthy)
        process.ready("database", database.healthy)
        subscriptions = [
            await broker.consume(render_queue(belt), counted, prefetch=_prefetch(belt, settings.render_prefetch))
            for belt in RenderBelt
        ]
        get_logger().info("renderer_started")
        await process.stopping.wait()
        await asyncio.gather(*(subscription.cancel() for subscription in subscriptions))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(process.drain_timeout_s - 1):
                await idle.wait()
        worker.shut_down()
        watching.cancel()


def _prefetch(belt: RenderBelt, bulk: int) -> int:
    """Transactional chunks, mostly of one mail, wait for the database and the broker more than they work."""
    return max(bulk, TRANSACTIONAL_PREFETCH) if belt is RenderBelt.TRANSACTIONAL else bulk


def main() -> None:
    """Entry of the process."""
    settings = RendererSettings()
    run("renderer", settings, lambda process: serve(process, settings))


if __name__ == "__main__":
    main()
