"""Rows that say who wants no mail (any more): off a list, or off every mail.

Promises: a page is set-based. For a list, whoever is on it becomes ``unsubscribed``, with the evidence in the consent
ledger; without a list, on every list that they are on. Addresses are suppressed whether they are contacts or not, so
that a later import does not bring them mail. A suppression that stands keeps its reason; one that would have expired
stays for good.
Fails: database errors come out; nothing of the page was written then.
"""

from typing import Any

from hayabin.database import consent, subscriptions
from hayabin.database.consent import Evidence
from hayabin.database.engine import Connection
from hayabin.domain.consent import SubscriptionState
from hayabin.domain.suppression import SuppressionReason

_ALL_LISTS = 0
_CONTACTS_SQL = """
SELECT c.id, c.address_key FROM import_people p
CROSS JOIN LATERAL (
    SELECT id, address_key FROM contacts
    WHERE tenant_id = $1 AND address_key = p.address_key COLLATE "default" OFFSET 0) c
WHERE p.ctid >= $2 AND p.ctid < $3 ORDER BY c.id"""

_SUPPRESS_SQL = """
WITH people AS MATERIALIZED (SELECT address_key FROM import_people p WHERE p.ctid >= $2 AND p.ctid < $3),
suppressed AS (
    INSERT INTO suppressions AS s (tenant_id, address_key, list_id, reason, source)
    SELECT $1, address_key, $4, $5, $6 FROM people ORDER BY address_key
    ON CONFLICT (tenant_id, address_key, list_id) DO UPDATE
    SET reason = excluded.reason, source = excluded.source, created_at = now(), expires_at = NULL
    WHERE s.expires_at IS NOT NULL)
SELECT count(*) FROM people"""


async def page(
    connection: Connection, tenant_id: int, list_id: int | None, bounds: tuple[Any, Any], evidence: Evidence
) -> int:
    """Take the people of a page off; returns how many. Call within a transaction."""
    people = await connection.fetch(_CONTACTS_SQL, tenant_id, *bounds)
    ids = [row["id"] for row in people]
    if list_id is not None:
        await subscriptions.move(connection, tenant_id, list_id, ids, SubscriptionState.UNSUBSCRIBED, evidence)
    elif people:
        mailboxes = [(tenant_id, row["address_key"], evidence.source) for row in people]
        await subscriptions.move_everywhere(connection, mailboxes, SubscriptionState.UNSUBSCRIBED, evidence.action)
        await consent.record(connection, tenant_id, _ALL_LISTS, ids, evidence)
    reason = SuppressionReason.IMPORTED if list_id is None else SuppressionReason.UNSUBSCRIBE
    count: int = await connection.fetchval(
        _SUPPRESS_SQL, tenant_id, *bounds, list_id or _ALL_LISTS, reason.value, evidence.source
    )
    return count
