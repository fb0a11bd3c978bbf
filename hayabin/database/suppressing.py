"""Suppressions as SQL: who gets no mail now, and what ends that.

Promises: gate and audience ask the same condition. It holds for the address or its whole domain (``@example.jp``), for
one list or every mail (list 0), for the tenant or for everybody (``PLATFORM_TENANT``); what has expired counts for
nothing. It takes two look-ups in an index. A domain stands for itself, not for those below it.
Fails: database errors as they are.
"""

from collections.abc import Sequence
from typing import Final

from hayabin.database.engine import Connection
from hayabin.domain.suppression import OWN_ACTS, SuppressionReason

PLATFORM_TENANT: Final = 0
"""The row of ``tenants`` whose suppressions hold for every tenant; nobody can sign in as it."""
ALL_LISTS: Final = 0
"""The list id that stands for every mail of a tenant."""
LEFT_STATES: Final = "('unsubscribed', 'bounced', 'complained')"
"""States of a member that gets no mail of the list any more."""


def domain_sql(address_key: str) -> str:
    """SQL for the key that a whole domain is suppressed by: ``@example.jp``."""
    return f"'@' || split_part({address_key}, '@', -1)"


def suppressed_sql(tenant: str, address_key: str, list_id: str, asks: str = "") -> str:
    """SQL condition: the address gets no mail of that tenant and list now.

    Shape: the arguments are SQL expressions of ours, never input; ``list_id`` is 0 where there is no list. ``asks`` is
    a condition for mails that ask a person to confirm what they just did: their own earlier act does not stop those.
    """
    # ``+ 0``: no conditions of an index. Two look-ups by the key find the few rows there are, whoever's and for
    # whatever list; with tenant and list in the key it would be eight, and the gate a fifth slower.
    own_acts = ", ".join(f"'{reason}'" for reason in sorted(OWN_ACTS))
    but = f" AND NOT ({asks} AND s.reason IN ({own_acts}))" if asks else ""
    return f"""EXISTS (
    SELECT 1 FROM suppressions s
    WHERE s.address_key IN ({address_key}, {domain_sql(address_key)})
      AND s.tenant_id + 0 IN ({PLATFORM_TENANT}, {tenant}) AND s.list_id + 0 IN ({ALL_LISTS}, {list_id})
      AND (s.expires_at IS NULL OR s.expires_at > now()){but})"""  # noqa: S608 - expressions of ours


def left_sql(message: str, campaign: str) -> str:
    """SQL condition: a campaign of several lists reached a message's person by lists that they have all left.

    Shape: names of rows of ``messages`` and ``campaigns``. ``suppressed_sql`` asks about the list that a campaign's
    mails name; whoever came by another of its lists has left that one. NULL or false for all other campaigns, which
    look nothing up for it; nobody can say by which rule somebody came whom a segment includes.
    """
    lists = f"{campaign}.audience_definition -> 'include_lists'"
    return f"""(COALESCE(jsonb_array_length({lists}), 0) > 1
    AND {campaign}.audience_definition -> 'include_segments' IS NULL AND (
        SELECT bool_or(lm.state IN {LEFT_STATES}) AND NOT bool_or(lm.state = 'subscribed')
        FROM contacts k JOIN list_members lm ON lm.contact_id = k.id
        WHERE k.tenant_id = {message}.tenant_id AND k.address_key = {message}.address_key
          AND {lists} @> to_jsonb(lm.list_id)))"""  # noqa: S608 - names of ours


_FOR_GOOD_SQL = """
INSERT INTO suppressions AS s (tenant_id, address_key, list_id, reason, source) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant_id, address_key, list_id) DO UPDATE
SET reason = excluded.reason, source = excluded.source, created_at = now(), expires_at = NULL
WHERE s.expires_at IS NOT NULL"""

_FORGET_EXPIRED_SQL = """
WITH gone AS (
    DELETE FROM suppressions s WHERE (s.tenant_id, s.address_key, s.list_id) IN (
        SELECT e.tenant_id, e.address_key, e.list_id FROM suppressions e WHERE e.expires_at <= now() LIMIT $1)
      AND s.expires_at <= now()
    RETURNING s.tenant_id, s.address_key, s.list_id, s.reason)
SELECT tenant_id, array_agg(address_key) FILTER (WHERE reason = 'hard_bounce' AND list_id = 0) AS bounced,
       count(*) AS count
FROM gone GROUP BY tenant_id ORDER BY tenant_id"""

_LIFT_FOR_LIST_SQL = """
WITH person AS (SELECT address_key FROM contacts WHERE tenant_id = $1 AND id = ANY($3)),
lifted AS (
    DELETE FROM suppressions s USING person p
    WHERE s.tenant_id = $1 AND s.address_key = p.address_key AND s.list_id IN (0, $2) AND s.reason = ANY($4)
    RETURNING s.address_key, s.list_id, s.reason, s.source),
others AS (
    INSERT INTO suppressions (tenant_id, address_key, list_id, reason, source)
    SELECT $1, d.address_key, l.id, d.reason, d.source
    FROM lifted d CROSS JOIN lists l
    WHERE d.list_id = 0 AND d.reason = 'unsubscribe' AND l.tenant_id = $1 AND l.id <> $2
    ON CONFLICT DO NOTHING)
SELECT address_key FROM lifted WHERE list_id = 0 AND reason = 'hard_bounce' ORDER BY address_key"""


async def lift_for_list(
    connection: Connection,
    tenant_id: int,
    list_id: int,
    contact_ids: Sequence[int],
    reasons: Sequence[SuppressionReason],
) -> list[str]:
    """Let people who came back by their own act have the mail of that list.

    Who had unsubscribed from every mail stays unsubscribed from the other lists.

    Returns: the addresses whose hard bounce is over (``subscriptions.reinstate``).
    """
    rows = await connection.fetch(
        _LIFT_FOR_LIST_SQL, tenant_id, list_id, list(contact_ids), [reason.value for reason in reasons]
    )
    return [row["address_key"] for row in rows]


async def suppress_for_good(
    connection: Connection, tenant_id: int, address_key: str, list_id: int, reason: SuppressionReason, source: str
) -> None:
    """Suppress an address; what stands already keeps its reason, and what would expire becomes permanent."""
    await connection.execute(_FOR_GOOD_SQL, tenant_id, address_key, list_id, reason.value, source)


async def forget_expired(connection: Connection, limit: int) -> dict[int, list[str]]:
    """Remove up to ``limit`` suppressions that have expired.

    Returns: by tenant the addresses whose hard bounce is over (``subscriptions.reinstate``).
    """
    rows = await connection.fetch(_FORGET_EXPIRED_SQL, limit)
    return {row["tenant_id"]: row["bounced"] or [] for row in rows}
