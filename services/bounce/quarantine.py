"""Inbound mail that changed nothing, kept for a look.

Promises: at most ``MAX_ROWS`` mails, the oldest go first; at most ``CONTENT_MAX_BYTES`` of each; the same mail that
comes from the belt twice is kept once.
Fails: database errors as they are.
"""

from datetime import datetime
from typing import Final

from hayabin.contracts.event_pb2 import BounceEvent
from hayabin.database.engine import Connection
from hayabin.telemetry.logging import get_logger
from hayabin.telemetry.metrics import QUARANTINED

MAX_ROWS: Final = 10_000
CONTENT_MAX_BYTES: Final = 64 * 1024
_TEXT_MAX_CHARS: Final = 320
_LOCK: Final = 0x68_62_71_75  # one writer at a time, so that the bound is exact

_KEEP_SQL = """
INSERT INTO quarantine (received_at, reason, mail_from, rcpt_to, remote_address, content)
SELECT $1, $2, $3, $4, $5, $6 WHERE NOT EXISTS (
    SELECT 1 FROM quarantine WHERE received_at = $1 AND rcpt_to = $4 AND remote_address = $5 AND content = $6)"""

_TRIM_SQL = """
DELETE FROM quarantine WHERE id <= (SELECT id FROM quarantine ORDER BY id DESC OFFSET $1 LIMIT 1)"""


async def keep(connection: Connection, mail: BounceEvent, received_at: datetime, reason: str) -> None:
    """Keep a mail with the reason why it changed nothing; call within a transaction."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
    await connection.execute(
        _KEEP_SQL,
        received_at,
        reason,
        storable(mail.mail_from, _TEXT_MAX_CHARS),
        storable(mail.rcpt_to, _TEXT_MAX_CHARS),
        storable(mail.remote_address, _TEXT_MAX_CHARS),
        mail.content[:CONTENT_MAX_BYTES],
    )
    await connection.execute(_TRIM_SQL, MAX_ROWS)
    QUARANTINED.labels(reason).inc()
    get_logger().info("inbound_quarantined", reason=reason, remote_address=mail.remote_address)


def storable(text: str, max_chars: int) -> str:
    """Text that a column can hold: bounded, printable, no NUL, no half of a surrogate pair."""
    return "".join(c if c.isprintable() else " " for c in text[:max_chars])
