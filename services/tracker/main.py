"""Wiring of the tracker: ``python -m services.tracker.main``.

Promises: on SIGTERM no request is taken any more, those under way are answered, every event that was taken is on the
belt (or counted as lost), every batch in hand is projected or back on the belt.
"""

import asyncio
import contextlib

from hayabin.broker import connect
from hayabin.broker.topology import EVENTS_ENGAGEMENT, events_queue
from hayabin.database.engine import Database, Pool
from hayabin.domain.token import TokenRing
from hayabin.lifecycle import Process, run, serve_http
from hayabin.settings import token_ring
from hayabin.telemetry.logging import get_logger
from services.tracker.app import Front, People, make_app
from services.tracker.confirm import Confirm
from services.tracker.engagement import Engagement
from services.tracker.handoff import EventBelt, HandOffLimits
from services.tracker.links import Links
from services.tracker.preference_centre import PreferenceCentre
from services.tracker.projector import Projector
from services.tracker.rendering import Pages
from services.tracker.settings import TrackerSettings
from services.tracker.sign_up import SignUpForms
from services.tracker.unsubscribe import Unsubscribe
from services.tracker.visitors import Visitors, networks_of

FLUSH_S = 5.0
POOL_SIZE = 8


async def serve(process: Process, settings: TrackerSettings) -> None:
    """Run until told to stop."""
    process.ready("http", lambda: _is_listening(settings.http_host, settings.http_port))
    async with (
        Database(settings.database_url.get_secret_value(), name="tracker", size=POOL_SIZE) as database,
        connect(settings.broker_url.get_secret_value(), name=process.instance, patient=True) as broker,
    ):
        pool = database.pool
        belt = EventBelt(broker, hand_off_limits(settings))
        projector = Projector(pool)
        parts = [asyncio.create_task(belt.run()), asyncio.create_task(projector.run())]
        process.ready("broker", broker.healthy)
        process.ready("database", database.healthy)
        subscription = await broker.consume(
            events_queue(EVENTS_ENGAGEMENT), projector.on_delivery, prefetch=settings.projection_prefetch
        )
        app = build(settings, token_ring(settings), pool, belt)
        get_logger().info("tracker_started", port=settings.http_port)
        await serve_http(app, settings.http_host, settings.http_port, process)
        await belt.flush(FLUSH_S)
        await subscription.cancel()
        await projector.drained()
        for part in parts:
            part.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await part


async def _is_listening(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except ConnectionError:
        return False
    writer.close()
    return True


def build(settings: TrackerSettings, ring: TokenRing, pool: Pool, belt: EventBelt) -> Front:
    """Put the HTTP side together."""
    pages = Pages()
    within_s = settings.tracker_database_within_s
    visitors = Visitors(networks_of(settings.trusted_proxies))
    people = People(
        Unsubscribe(ring, pool, pages, within_s, visitors),
        PreferenceCentre(ring, pool, pages, visitors, within_s),
        Confirm(ring, pool, pages, visitors, within_s),
        SignUpForms(pool, pages, visitors, within_s, settings.origin),
    )
    return make_app(Engagement(ring, belt, Links(pool, within_s), pages), people, pages, settings.path_prefix)


def hand_off_limits(settings: TrackerSettings) -> HandOffLimits:
    """The bounds of the hand-off that are settings."""
    return HandOffLimits(
        answer_within_s=settings.tracker_answer_within_s,
        keep_s=settings.tracker_keep_s,
        max_waiting=settings.tracker_max_waiting,
    )


def main() -> None:
    """Entry of the process."""
    settings = TrackerSettings()
    run("tracker", settings, lambda process: serve(process, settings))


if __name__ == "__main__":
    main()
