"""Places between two steps of a message's way at which a test may end the process, as a power cut would.

Promises: every boundary of the way has one name, reached at one place in the code; unless armed, reaching one costs one
look at an empty dict. Armed by ``HAYABIN_CRASH_AT`` alone, never by data.
Fails: ``ValueError`` for a name that is none. An armed process says so in its log, loudly.
"""

import os
import signal
from enum import StrEnum


class CrashPoint(StrEnum):
    """Each boundary, in the order of the way."""

    API_BEFORE_COMMIT = "api.before_commit"  # the launch is written, not committed
    API_COMMITTED = "api.committed"  # committed, the client has no answer
    SCHEDULE_BEFORE_COMMIT = "schedule.before_commit"
    FILL_BEFORE_COMMIT = "fill.before_commit"  # a page of the audience is written, not committed
    FEED_BEFORE_COMMIT = "feed.before_commit"  # leases and outbox rows written, not committed
    RELAY_TAKEN = "relay.taken"  # outbox rows taken, nothing published
    RELAY_PUBLISHED = "relay.published"  # confirmed by the belt, the outbox rows still there
    RENDER_RECEIVED = "render.received"
    RENDER_RENDERED = "render.rendered"  # mails made, nothing published
    RENDER_PUBLISHED = "render.published"  # batches confirmed, the chunk not acknowledged
    DISPATCH_RECEIVED = "dispatch.received"
    GATE_CLAIMED = "gate.claimed"  # claims committed, no transaction begun
    SMTP_BEFORE_MAIL = "smtp.before_mail"  # a claimed mail, its transaction not begun
    SMTP_DOT_SENT = "smtp.dot_sent"  # the final dot is out, its reply is not here
    SMTP_REPLIED = "smtp.replied"  # the server has the mail, nobody else knows
    OUTCOME_BEFORE_COMMIT = "outcome.before_commit"
    OUTCOME_COMMITTED = "outcome.committed"
    DISPATCH_BEFORE_ACK = "dispatch.before_ack"
    PARK_PUBLISHED = "park.published"  # a copy is parked, the original not acknowledged
    RECONCILE_BEFORE_COMMIT = "reconcile.before_commit"  # lost claims moved, not committed
    TRACK_PUBLISHED = "track.published"  # an open or click is on the belt, the reader has no answer
    TRACK_PROJECTED = "track.projected"  # engagement committed, not acknowledged
    UNSUBSCRIBE_COMMITTED = "unsubscribe.committed"  # the reader has no answer
    BOUNCE_PUBLISHED = "bounce.published"  # an inbound mail is on the belt, its sender has no reply
    BOUNCE_PROJECTED = "bounce.projected"  # a report committed, not acknowledged
    REFUSALS_PROJECTED = "refusals.projected"  # refused mails committed, not acknowledged


_armed: dict[CrashPoint, int] = {}


def arm(spec: str) -> None:
    """Arm by ``name`` or ``name@n`` (the n-th time), separated by commas; an empty text arms nothing.

    Raises: ValueError.
    """
    for part in filter(None, (part.strip() for part in spec.split(","))):
        name, _, times = part.partition("@")
        _armed[CrashPoint(name)] = int(times or 1)


def reach(point: CrashPoint) -> None:
    """Say that this boundary is reached; ends the process by SIGKILL where it is armed for this time."""
    if _armed and point in _armed:
        _armed[point] -= 1
        if _armed[point] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
