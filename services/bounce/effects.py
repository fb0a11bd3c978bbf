"""What a report that holds changes: the ledger, suppressions, an event. One place for both kinds of failure reports.

Promises: rows are locked in the order messages, events, suppressions, each by key, so two transactions never wait for
each other in a circle. A suppression that stands already keeps its reason; one that would expire becomes permanent.
Fails: database errors as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from hayabin.database.engine import Connection
from hayabin.domain.suppression import SuppressionReason

ALL_LISTS: Final = 0

_SUPPRESS_SQL = """
INSERT INTO suppressions AS s (tenant_id, address_key, list_id, reason, source) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant_id, address_key, list_id) DO UPDATE
SET reason = excluded.reason, source = excluded.source, created_at = now(), expires_at = NULL
WHERE s.expires_at IS NOT NULL"""

_EVENT_SQL = """
INSERT INTO events (event_id, tenant_id, campaign_id, message_id, kind, detail, occurred_at)
VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (event_id) DO NOTHING RETURNING true"""

_REFUSALS_SQL = """
WITH given AS (
    SELECT g.*, m.tenant_id, m.campaign_id, m.address_key
    FROM unnest($1::bytea[], $2::bigint[], $3::text[], $4::bool[], $5::timestamptz[])
         AS g(event_id, message_id, detail, suppress, occurred_at)
    JOIN messages m ON m.id = g.message_id),
fresh AS (
    INSERT INTO events (event_id, tenant_id, campaign_id, message_id, kind, detail, occurred_at)
    SELECT event_id, tenant_id, campaign_id, message_id, 'bounce', detail, occurred_at FROM given ORDER BY event_id
    ON CONFLICT (event_id) DO NOTHING RETURNING event_id),
suppressed AS (
    INSERT INTO suppressions AS s (tenant_id, address_key, list_id, reason, source)
    SELECT DISTINCT ON (tenant_id, address_key) tenant_id, address_key, 0, 'hard_bounce', 'message:' || message_id
    FROM given WHERE suppress AND event_id IN (SELECT event_id FROM fresh)
    ORDER BY tenant_id, address_key, message_id
    ON CONFLICT (tenant_id, address_key, list_id) DO UPDATE
    SET reason = excluded.reason, source = excluded.source, created_at = now(), expires_at = NULL
    WHERE s.expires_at IS NOT NULL RETURNING 1)
SELECT (SELECT count(*) FROM fresh) AS fresh, (SELECT count(*) FROM suppressed) AS suppressed,
       COALESCE((SELECT array_agg(DISTINCT c.traceparent) FROM campaigns c
                 WHERE c.id IN (SELECT campaign_id FROM given) AND c.traceparent <> ''), '{}') AS traceparents"""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A mail that was refused in the SMTP session."""

    event_id: bytes
    message_id: int
    detail: str
    suppress: bool
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class ReportEvent:
    """An event of a message whose ledger row is ``row``."""

    event_id: bytes
    row: Any
    kind: str
    detail: str
    occurred_at: datetime


async def suppress(connection: Connection, row: Any, reason: SuppressionReason) -> None:
    """Never mail the address of a ledger row again, whatever the list."""
    await connection.execute(
        _SUPPRESS_SQL, row["tenant_id"], row["address_key"], ALL_LISTS, reason.value, f"message:{row['id']}"
    )


async def note(connection: Connection, event: ReportEvent) -> bool:
    """Write an event; false where it was there."""
    row = event.row
    return bool(
        await connection.fetchval(
            _EVENT_SQL,
            event.event_id,
            row["tenant_id"],
            row["campaign_id"],
            row["id"],
            event.kind,
            event.detail,
            event.occurred_at,
        )
    )


async def refuse(connection: Connection, refusals: Sequence[Refusal]) -> tuple[str, ...]:
    """Events and suppressions of refused mails; returns the traceparents of their launches."""
    row = await connection.fetchrow(
        _REFUSALS_SQL,
        [refusal.event_id for refusal in refusals],
        [refusal.message_id for refusal in refusals],
        [refusal.detail for refusal in refusals],
        [refusal.suppress for refusal in refusals],
        [refusal.occurred_at for refusal in refusals],
    )
    return tuple(row["traceparents"]) if row is not None else ()
