"""What a report that holds changes: the ledger, suppressions, an event. One place for both kinds of failure reports.

Promises: rows are locked in the order messages, events, subscriptions, suppressions, each by key, so two transactions
never wait for each other in a circle. Whose mailbox is dead is ``bounced`` on every list, who complained is
``complained``, with the history, and the consent ledger has a complaint as the opt-out that it is. A suppression that
stands already keeps its reason; one that would expire becomes permanent.
Fails: database errors as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from hayabin.database import consent, subscriptions, suppressing
from hayabin.database.consent import Evidence
from hayabin.database.engine import Connection
from hayabin.domain.consent import ConsentAction, ConsentBasis, SubscriptionState
from hayabin.domain.suppression import SuppressionReason

_COMPLAINED: Final = "complaint by a feedback loop"

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
gone AS (
    SELECT DISTINCT ON (tenant_id, address_key) tenant_id, address_key, 'message:' || message_id AS source
    FROM given WHERE suppress AND event_id IN (SELECT event_id FROM fresh)
    ORDER BY tenant_id, address_key, message_id)
SELECT ARRAY(SELECT tenant_id FROM gone ORDER BY tenant_id, address_key) AS tenants,
       ARRAY(SELECT address_key FROM gone ORDER BY tenant_id, address_key) AS addresses,
       ARRAY(SELECT source FROM gone ORDER BY tenant_id, address_key) AS sources,
       COALESCE((SELECT array_agg(DISTINCT c.traceparent) FROM campaigns c
                 WHERE c.id IN (SELECT campaign_id FROM given) AND c.traceparent <> ''), '{}') AS traceparents"""

_GONE_SQL = """
INSERT INTO suppressions AS s (tenant_id, address_key, list_id, reason, source)
SELECT tenant_id, address_key, 0, 'hard_bounce', source
FROM unnest($1::bigint[], $2::text[], $3::text[]) AS g(tenant_id, address_key, source)
ORDER BY tenant_id, address_key
ON CONFLICT (tenant_id, address_key, list_id) DO UPDATE
SET reason = excluded.reason, source = excluded.source, created_at = now(), expires_at = NULL
WHERE s.expires_at IS NOT NULL"""


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
    """Never mail the address of a ledger row again, whatever the list; its memberships end with the reason."""
    tenant_id, key, source = row["tenant_id"], row["address_key"], f"message:{row['id']}"
    complained = reason is SuppressionReason.COMPLAINT
    to = SubscriptionState.COMPLAINED if complained else SubscriptionState.BOUNCED
    action = ConsentAction.OPT_OUT if complained else ConsentAction.CHANGE
    await subscriptions.move_everywhere(connection, [(tenant_id, key, source)], to, action)
    await suppressing.suppress_for_good(connection, tenant_id, key, suppressing.ALL_LISTS, reason, source)
    if complained:
        evidence = Evidence(action=action, basis=ConsentBasis.UNSPECIFIED, source=source, note=_COMPLAINED)
        await consent.record_opt_out(connection, tenant_id, suppressing.ALL_LISTS, key, evidence)


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
    if row is None:
        return ()
    gone = (row["tenants"], row["addresses"], row["sources"])
    if row["tenants"]:
        mailboxes = list(zip(*gone, strict=True))
        await subscriptions.move_everywhere(connection, mailboxes, SubscriptionState.BOUNCED, ConsentAction.CHANGE)
        await connection.execute(_GONE_SQL, *gone)
    return tuple(row["traceparents"])
