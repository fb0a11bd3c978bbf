"""Who is on a list, how they came there and how they left: the only code that moves a subscription.

Promises: a move is in the tables of ``hayabin.domain.consent``; membership, its history (``subscription_changes``) and
the consent ledger are written in one statement, for any number of people at once; an opt-out also suppresses the
address for that list, so the gate knows at once. Rows are locked in the order list, contact, then suppressions. Asked
again, a move changes nothing and writes nothing, but evidence for somebody who is subscribed without any is kept. A
mailbox that ends says nothing of consent: bounces are in the history alone.
Fails: database errors as they are; nothing was changed then.
"""

from collections.abc import Sequence

from hayabin.database import suppressing
from hayabin.database.consent import COLUMNS, Evidence
from hayabin.database.engine import Connection
from hayabin.domain.consent import NEW, ConsentAction, ConsentBasis, SubscriptionState, sources_of
from hayabin.domain.suppression import SuppressionReason

# No two of its parts are joined: they are sorted together and grouped, so that whatever the planner thinks of young
# tables and of parameters, it never compares each of 20,000 people with each other.
_MOVE_SQL = f"""
WITH locked AS MATERIALIZED (
    SELECT lm.contact_id, lm.state AS was, lm.consent FROM list_members lm
    WHERE lm.list_id = $2 AND lm.contact_id = ANY($3) ORDER BY lm.contact_id FOR UPDATE),
moving AS MATERIALIZED (
    SELECT contact_id, max(address_key) AS address_key, max(was) AS was, max(consent) AS consent
    FROM (SELECT c.id AS contact_id, c.address_key, NULL AS was, NULL AS consent FROM contacts c
          WHERE c.id = ANY($3) AND c.tenant_id = $1
            AND (SELECT true FROM lists l WHERE l.id = $2 AND l.tenant_id = $1)
          UNION ALL SELECT contact_id, NULL, was, consent FROM locked) known
    GROUP BY contact_id
    HAVING max(address_key) IS NOT NULL AND CASE
        WHEN max(was) IS NULL THEN $6
        ELSE max(was) = ANY($5) OR ($6 AND max(was) = $4 AND max(consent) = 'unspecified' AND $9 <> 'unspecified') END),
written AS (
    INSERT INTO list_members AS lm (list_id, contact_id, state, consent)
    SELECT $2, contact_id, $4, CASE WHEN $6 AND $9 <> 'unspecified' THEN $9 ELSE COALESCE(consent, 'unspecified') END
    FROM moving ORDER BY contact_id
    ON CONFLICT (list_id, contact_id) DO UPDATE
    SET state = excluded.state, consent = excluded.consent, updated_at = now()
    WHERE lm.state = ANY($5) OR lm.state = excluded.state
    RETURNING lm.contact_id),
moved AS MATERIALIZED (
    SELECT contact_id, max(address_key) AS address_key, max(was) AS was
    FROM (SELECT contact_id, address_key, was, false AS written FROM moving
          UNION ALL SELECT contact_id, NULL, NULL, true FROM written) known
    GROUP BY contact_id HAVING bool_or(written)),
history AS (
    INSERT INTO subscription_changes (tenant_id, list_id, contact_id, was, state, action, source)
    SELECT $1, $2, contact_id, was, $4, $8, $10 FROM moved WHERE was IS DISTINCT FROM $4 ORDER BY contact_id),
suppressed AS (
    INSERT INTO suppressions AS s (tenant_id, address_key, list_id, reason, source)
    SELECT $1, address_key, $2, 'unsubscribe', $10 FROM moved WHERE $4 = 'unsubscribed' AND $8 = 'opt_out'
    ORDER BY address_key
    ON CONFLICT (tenant_id, address_key, list_id) DO UPDATE
    SET reason = excluded.reason, source = excluded.source, created_at = now(), expires_at = NULL
    WHERE s.expires_at IS NOT NULL),
ledger AS (
    INSERT INTO consents (tenant_id, contact_id, address_key, list_id, {COLUMNS})
    SELECT $1, contact_id, address_key, $2, $8, $9, $10, $11, $12, $13, $14, COALESCE($15, now())
    FROM moved WHERE $7 ORDER BY contact_id)
SELECT contact_id FROM moved WHERE was IS DISTINCT FROM $4 ORDER BY contact_id"""  # noqa: S608 - a constant of ours

_EVERYWHERE_SQL = """
WITH locked AS MATERIALIZED (
    SELECT lm.list_id, lm.contact_id, lm.state AS was, c.tenant_id, g.source
    FROM unnest($1::bigint[], $2::text[], $3::text[]) AS g(tenant_id, address_key, source)
    CROSS JOIN LATERAL (
        SELECT id, tenant_id FROM contacts c
        WHERE c.tenant_id = g.tenant_id AND c.address_key = g.address_key OFFSET 0) c
    JOIN list_members lm ON lm.contact_id = c.id
    WHERE lm.state = ANY($5) ORDER BY lm.list_id, lm.contact_id FOR UPDATE OF lm),
changed AS (
    UPDATE list_members lm SET state = $4, updated_at = now() FROM locked l
    WHERE lm.list_id = l.list_id AND lm.contact_id = l.contact_id AND l.was = ANY($5)
    RETURNING l.tenant_id, l.list_id, l.contact_id, l.was, l.source)
INSERT INTO subscription_changes (tenant_id, list_id, contact_id, was, state, action, source)
SELECT tenant_id, list_id, contact_id, was, $4, $6, source FROM changed ORDER BY list_id, contact_id"""

_LEAVE_SQL = """
WITH gone AS (
    DELETE FROM list_members lm USING lists l
    WHERE l.id = lm.list_id AND l.tenant_id = $1 AND lm.list_id = $2 AND lm.contact_id = $3 AND lm.state = ANY($4)
    RETURNING lm.state)
INSERT INTO subscription_changes (tenant_id, list_id, contact_id, was, state, action, source)
SELECT $1, $2, $3, state, NULL, 'change', $5 FROM gone"""

_BEFORE_THE_BOUNCE_SQL = """
SELECT lm.list_id, COALESCE((
           SELECT h.was FROM subscription_changes h
           WHERE h.contact_id = lm.contact_id AND h.list_id = lm.list_id AND h.state = 'bounced'
           ORDER BY h.id DESC LIMIT 1), 'subscribed') AS was,
       array_agg(lm.contact_id) AS contact_ids
FROM contacts c JOIN list_members lm ON lm.contact_id = c.id AND lm.state = 'bounced'
WHERE c.tenant_id = $1 AND c.address_key = ANY($2) GROUP BY 1, 2 ORDER BY 1, 2"""


async def move(
    connection: Connection,
    tenant_id: int,
    list_id: int,
    contact_ids: Sequence[int],
    to: SubscriptionState,
    evidence: Evidence,
    *,
    in_ledger: bool = True,
) -> list[int]:
    """Move contacts on a list; returns the ids of those who moved, in order. Call within a transaction.

    Contacts and lists of other tenants are left out silently. Whoever unsubscribed, complained or bounced is subscribed
    again with ``ConsentAction.CONFIRM`` alone, which also ends the suppressions that stood for their own wish; by the
    link of a mail, those of a mailbox that plainly works, too: their other lists are then as before it bounced.
    ``in_ledger`` is false where the caller writes the row of the consent ledger whether anybody moves or not.
    """
    rows = await connection.fetch(
        _MOVE_SQL,
        tenant_id,
        list_id,
        list(contact_ids),
        to.value,
        [state.value for state in sources_of(to, evidence.action)],
        to in NEW,
        in_ledger and to is not SubscriptionState.BOUNCED,
        *evidence.columns(),
    )
    if evidence.action is ConsentAction.CONFIRM and to is SubscriptionState.SUBSCRIBED:
        ended = _ended_by(evidence)
        works = await suppressing.lift_for_list(connection, tenant_id, list_id, contact_ids, ended)
        await reinstate(connection, tenant_id, works, evidence.source)
    return [row["contact_id"] for row in rows]


def _ended_by(evidence: Evidence) -> tuple[SuppressionReason, ...]:
    """What a confirmation takes back: who followed a link of a mail has the mail, and wants more.

    That somebody else says so, of whatever form, proves neither.
    """
    if evidence.by_link:
        return (SuppressionReason.UNSUBSCRIBE, SuppressionReason.COMPLAINT, SuppressionReason.HARD_BOUNCE)
    return (SuppressionReason.UNSUBSCRIBE,)


async def move_everywhere(
    connection: Connection,
    mailboxes: Sequence[tuple[int, str, str]],
    to: SubscriptionState,
    action: ConsentAction,
) -> int:
    """Move people on every list of their tenant that they are on; returns how many memberships moved.

    Shape: ``mailboxes`` are (tenant id, address key, source). The consent ledger is the caller's: one row for a wish
    that holds for every mail (``consent.record_opt_out``). Call within a transaction, before suppressions are written.
    """
    if to in NEW:
        raise ValueError("nobody comes onto every list at once")
    status: str = await connection.execute(
        _EVERYWHERE_SQL,
        [tenant_id for tenant_id, _, _ in mailboxes],
        [address_key for _, address_key, _ in mailboxes],
        [source for _, _, source in mailboxes],
        to.value,
        [state.value for state in sources_of(to, action)],
        action.value,
    )
    return int(status.rpartition(" ")[2])


async def take_off(connection: Connection, tenant_id: int, list_id: int, contact_id: int, source: str) -> bool:
    """Take a contact off a list, as if they had never been on it; false where nothing was to be done.

    Who has unsubscribed, complained or bounced stays there with that state, so nobody subscribes them again.
    """
    status: str = await connection.execute(
        _LEAVE_SQL, tenant_id, list_id, contact_id, [state.value for state in NEW], source
    )
    return not status.endswith(" 0")


async def reinstate(connection: Connection, tenant_id: int, address_keys: Sequence[str], source: str) -> int:
    """Put whose mailbox is taken to work again back to what they were before it bounced; returns how many moved."""
    if not address_keys:
        return 0
    evidence = Evidence(action=ConsentAction.CHANGE, basis=ConsentBasis.UNSPECIFIED, source=source)
    count = 0
    for row in await connection.fetch(_BEFORE_THE_BOUNCE_SQL, tenant_id, list(address_keys)):
        state = SubscriptionState(row["was"])
        count += len(await move(connection, tenant_id, row["list_id"], row["contact_ids"], state, evidence))
    return count
