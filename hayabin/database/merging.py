"""Two contacts that are one person: making one of them (``duplicates`` finds candidates).

Promises: a merge is what the caller's transaction makes it, all or nothing. The contact that is kept keeps its address;
values that it lacks come from the other. Nobody gets more mail by it: whoever complained, unsubscribed or bounced
stays so on that list, and of two that wait or are subscribed the kept one's own state counts. Evidence of both stays in
the consent ledger, where it was, and a row says that they were merged. Messages and events stay with the address that
they went to, what was received and opened last is the later of the two; suppressions of both addresses stay.
Fails: database errors come out.
"""

from dataclasses import dataclass
from typing import Final

from hayabin.database import subscriptions
from hayabin.database.consent import Evidence, record
from hayabin.database.contact_history import TRACKED, ChangeSource, noted
from hayabin.database.engine import Connection
from hayabin.domain.consent import ConsentAction, ConsentBasis, SubscriptionState

EVERY_MAIL: Final = 0

# In the order in which imports lock contacts.
_LOCK_SQL = """
SELECT id FROM contacts WHERE tenant_id = $1 AND id = ANY($2) ORDER BY address_key COLLATE "C" FOR UPDATE"""

_FILL_SQL = f"""
WITH before AS MATERIALIZED (SELECT {TRACKED} FROM contacts WHERE tenant_id = $1 AND id = $2),
gone AS MATERIALIZED (SELECT {TRACKED} FROM contacts WHERE tenant_id = $1 AND id = $3),
after AS (
    UPDATE contacts c SET
        name = CASE WHEN $4 THEN COALESCE(NULLIF(g.name, ''), c.name) ELSE COALESCE(NULLIF(c.name, ''), g.name) END,
        locale = CASE WHEN $4 THEN g.locale ELSE c.locale END,
        stage = CASE WHEN $4 THEN COALESCE(NULLIF(g.stage, ''), c.stage)
                     ELSE COALESCE(NULLIF(c.stage, ''), g.stage) END,
        time_zone = CASE WHEN $4 THEN COALESCE(NULLIF(g.time_zone, ''), c.time_zone)
                         ELSE COALESCE(NULLIF(c.time_zone, ''), g.time_zone) END,
        attributes = CASE WHEN $4 THEN c.attributes || g.attributes ELSE g.attributes || c.attributes END,
        created_at = least(c.created_at, (SELECT o.created_at FROM contacts o WHERE o.id = g.id)), updated_at = now()
    FROM gone g WHERE c.id = $2 AND c.tenant_id = $1 RETURNING c.*),
history AS ({noted("before", "after", "$5", f"'{ChangeSource.MERGE}'")})
INSERT INTO contact_changes (tenant_id, contact_id, actor, source, field, old, new)
SELECT $1, a.id, $5, '{ChangeSource.MERGE}', 'merged', jsonb_build_object('id', g.id, 'email', g.address),
       jsonb_build_object('id', a.id, 'email', a.address) FROM after a, gone g"""  # noqa: S608 - constants of ours

_LOCK_MEMBERSHIPS_SQL = """
SELECT FROM list_members WHERE contact_id = ANY($1) ORDER BY list_id, contact_id FOR UPDATE"""

_MEMBERSHIPS_SQL = """
SELECT g.list_id, g.state, g.consent, k.state AS kept_state FROM list_members g
LEFT JOIN list_members k ON k.list_id = g.list_id AND k.contact_id = $1
WHERE g.contact_id = $2 ORDER BY g.list_id"""

_ACTIVITY_SQL = """
WITH gone AS (
    DELETE FROM contact_activity WHERE tenant_id = $1 AND contact_id = $3
    RETURNING last_received_at, last_opened_at, last_clicked_at)
INSERT INTO contact_activity AS k (tenant_id, contact_id, last_received_at, last_opened_at, last_clicked_at)
SELECT $1, $2, last_received_at, last_opened_at, last_clicked_at FROM gone
ON CONFLICT (tenant_id, contact_id) DO UPDATE SET
    last_received_at = greatest(k.last_received_at, excluded.last_received_at),
    last_opened_at = greatest(k.last_opened_at, excluded.last_opened_at),
    last_clicked_at = greatest(k.last_clicked_at, excluded.last_clicked_at)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Who is merged into whom."""

    tenant_id: int
    kept_id: int
    gone_id: int
    prefer_gone: bool
    """Where both have a value, the one of the contact that goes counts."""
    actor: str


async def merge(connection: Connection, wanted: Merge) -> bool:
    """Make one contact of two; False where one of them is not there. Call within a transaction."""
    both = await connection.fetch(_LOCK_SQL, wanted.tenant_id, [wanted.kept_id, wanted.gone_id])
    if len(both) < 2:
        return False
    # Whoever leaves a list at this moment has done so before, and is seen below, or finds the contact gone.
    await connection.execute(_LOCK_MEMBERSHIPS_SQL, [wanted.kept_id, wanted.gone_id])
    for row in await connection.fetch(_MEMBERSHIPS_SQL, wanted.kept_id, wanted.gone_id):
        kept = SubscriptionState(row["kept_state"]) if row["kept_state"] else None
        evidence = Evidence(
            action=ConsentAction.CHANGE,
            basis=ConsentBasis(row["consent"]),
            source=f"merge:{wanted.gone_id}",
        )
        for state in _moves(SubscriptionState(row["state"]), kept):
            await subscriptions.move(connection, wanted.tenant_id, row["list_id"], [wanted.kept_id], state, evidence)
    merged = Evidence(
        action=ConsentAction.CHANGE,
        basis=ConsentBasis.UNSPECIFIED,
        source=f"merge:{wanted.gone_id}",
        note=f"contact {wanted.gone_id} became contact {wanted.kept_id}",
    )
    await record(connection, wanted.tenant_id, EVERY_MAIL, [wanted.kept_id, wanted.gone_id], merged)
    await connection.execute(
        _FILL_SQL, wanted.tenant_id, wanted.kept_id, wanted.gone_id, wanted.prefer_gone, wanted.actor
    )
    await connection.execute(
        "UPDATE contact_changes SET contact_id = $2 WHERE contact_id = $3 AND tenant_id = $1",
        wanted.tenant_id, wanted.kept_id, wanted.gone_id,
    )  # fmt: skip
    await connection.execute(_ACTIVITY_SQL, wanted.tenant_id, wanted.kept_id, wanted.gone_id)
    await connection.execute("DELETE FROM contacts WHERE id = $2 AND tenant_id = $1", wanted.tenant_id, wanted.gone_id)
    return True


def _moves(gone: SubscriptionState, kept: SubscriptionState | None) -> list[SubscriptionState]:
    """Through which states the kept contact goes on a list of the other's, so that it gets no more mail than either."""
    ended = gone not in (SubscriptionState.PENDING, SubscriptionState.SUBSCRIBED)
    match kept:
        case None:
            return [SubscriptionState.PENDING, gone] if ended else [gone]
        case _ if ended:
            return [gone]  # no move where the kept one's state is as strict: the table of transitions has none
        case _:
            return []
