"""Where a person stands with a list, and how they are taken off: one transaction, with or without a ledger row.

Promises: ``stop`` writes list membership with its history, suppression, consent ledger, event and counter together or
not at all; doing it again changes nothing. A suppression that stands already keeps its reason; one that would expire
becomes permanent. The contact is found by its id, or, where it is gone, whoever has the address of the ledger row. Of
whoever was erased nothing is known: they get no mail, and nothing is written.
Fails: database errors as they are; nothing was changed then.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from hayabin.database import consent, counters, ledger, subscriptions, suppressing
from hayabin.database.consent import Evidence
from hayabin.database.engine import Connection
from hayabin.database.erasing import shown_sql
from hayabin.domain.consent import ConsentAction, ConsentBasis, SubscriptionState
from hayabin.domain.message import MessageState
from hayabin.domain.suppression import SuppressionReason
from hayabin.domain.token import UnsubscribeClaim

ALL_LISTS = 0
"""The list id that stands for every mail of a tenant."""

_KEY: Final = f"COALESCE(c.address_key, {shown_sql('m.address_key')})"

_STANDING_SQL = f"""
SELECT t.name AS tenant, COALESCE(NULLIF(l.public_name, ''), l.name) AS list, COALESCE(c.wire, {_KEY}) AS address,
       COALESCE(s.scopes, '{{}}') AS scopes
FROM tenants t
LEFT JOIN lists l ON l.id = $2 AND l.tenant_id = t.id
LEFT JOIN contacts c ON c.id = $3 AND c.tenant_id = t.id
LEFT JOIN messages m ON m.id = $4 AND m.tenant_id = t.id
LEFT JOIN LATERAL (
    SELECT array_agg(list_id) AS scopes FROM suppressions
    WHERE tenant_id = t.id AND address_key = {_KEY} AND list_id IN (0, $2)
      AND reason <> 'paused' AND (expires_at IS NULL OR expires_at > now())) s ON true
WHERE t.id = $1"""  # noqa: S608 - an expression of ours

_PERSON_SQL = f"""
SELECT {_KEY} AS address_key, COALESCE(c.id, k.id, $2) AS contact_id,
       COALESCE(m.campaign_id, r.campaign_id) AS campaign_id
FROM tenants t
LEFT JOIN contacts c ON c.id = $2 AND c.tenant_id = t.id
LEFT JOIN messages m ON m.id = $3 AND m.tenant_id = t.id
LEFT JOIN contacts k ON c.id IS NULL AND k.tenant_id = t.id AND k.address_key = m.address_key
LEFT JOIN recipients r ON r.message_id = $3 AND r.tenant_id = t.id
WHERE t.id = $1"""  # noqa: S608 - an expression of ours

_BROUGHT_SQL = """
SELECT lm.list_id FROM campaigns c CROSS JOIN jsonb_array_elements_text(c.audience_definition -> 'include_lists') i(id)
JOIN list_members lm ON lm.list_id = i.id::bigint AND lm.contact_id = $3 AND lm.state = 'subscribed'
WHERE c.id = $2 AND c.tenant_id = $1 AND c.audience_definition -> 'include_lists' @> to_jsonb($4::bigint)
  AND NOT EXISTS (SELECT 1 FROM list_members o WHERE o.list_id = $4 AND o.contact_id = $3)
ORDER BY lm.list_id"""
"""Lists by which somebody got a campaign that was for several, where they are not on the one that its link names."""

_EVENT_SQL = """
INSERT INTO events (event_id, tenant_id, campaign_id, message_id, kind, detail, occurred_at)
VALUES ($1, $2, $3, $4, 'unsubscribe', $5, $6) ON CONFLICT (event_id) DO NOTHING"""

_FIRST_SQL = """
INSERT INTO engagements (message_id, kind, first_at) VALUES ($1, 'unsubscribe', $2)
ON CONFLICT (message_id, kind) DO NOTHING RETURNING true"""


class Scope(StrEnum):
    """How much a person wants to be taken off."""

    LIST = "list"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Standing:
    """What a page shows; ``address`` is None where nothing is known of the person any more."""

    tenant: str
    list_name: str | None
    address: str | None
    list_stopped: bool
    all_stopped: bool


async def look(connection: Connection, claim: UnsubscribeClaim) -> Standing | None:
    """Where the person of a token stands; None where the tenant is gone."""
    row = await connection.fetchrow(_STANDING_SQL, *_ids(claim))
    if row is None:
        return None
    scopes = set(row["scopes"])
    return Standing(
        tenant=row["tenant"],
        list_name=row["list"],
        address=row["address"],
        list_stopped=bool(scopes),
        all_stopped=ALL_LISTS in scopes,
    )


@dataclass(frozen=True, slots=True)
class Hand:
    """By what hand somebody takes themselves off."""

    basis: ConsentBasis = ConsentBasis.FORM
    ip: str | None = None
    user_agent: str = ""


async def stop(
    connection: Connection, claim: UnsubscribeClaim, scope: Scope, now: datetime, hand: Hand | None = None
) -> bool:
    """Take the person of a token off its list, or off every list; false where nothing is known of them any more.

    A token without a list asks for every list. Whoever got the mail of several lists by another one than the token's
    leaves that one too. Call within a transaction.
    """
    list_id = ALL_LISTS if scope is Scope.ALL else claim.list_id
    person = await connection.fetchrow(_PERSON_SQL, claim.tenant_id, claim.contact_id, claim.message_id)
    if person is None or person["address_key"] is None:
        return False
    await _resolve_unknown(connection, claim.message_id)
    lists = [list_id]
    if list_id != ALL_LISTS and person["campaign_id"]:
        brought = (claim.tenant_id, person["campaign_id"], person["contact_id"], list_id)
        lists += [row["list_id"] for row in await connection.fetch(_BROUGHT_SQL, *brought)]
    leaver = claim._replace(contact_id=person["contact_id"])
    await _leave(connection, leaver, lists, person["address_key"], _evidence(claim, now, hand or Hand()))
    await _note(connection, claim, list_id, person, now)
    return True


def _evidence(claim: UnsubscribeClaim, now: datetime, hand: Hand) -> Evidence:
    return Evidence(
        action=ConsentAction.OPT_OUT,
        basis=hand.basis,
        source=f"message:{claim.message_id}",
        ip=hand.ip,
        user_agent=hand.user_agent,
        occurred_at=now,
    )


async def _leave(
    connection: Connection, claim: UnsubscribeClaim, lists: Sequence[int], key: str, evidence: Evidence
) -> None:
    """Memberships first, then suppressions: one lock order for everybody."""
    tenant_id, to = claim.tenant_id, SubscriptionState.UNSUBSCRIBED
    for list_id in lists:
        if list_id == ALL_LISTS:
            await subscriptions.move_everywhere(connection, [(tenant_id, key, evidence.source)], to, evidence.action)
        else:
            await subscriptions.move(connection, tenant_id, list_id, [claim.contact_id], to, evidence)
    reason = SuppressionReason.UNSUBSCRIBE
    for list_id in lists:
        await suppressing.suppress_for_good(connection, tenant_id, key, list_id, reason, evidence.source)
        await consent.record_opt_out(connection, tenant_id, list_id, key, evidence)


async def _note(connection: Connection, claim: UnsubscribeClaim, list_id: int, person: Any, now: datetime) -> None:
    """The event, one for each message and scope, and the counter, one for each message."""
    campaign_id = person["campaign_id"] or 0
    name = f"unsubscribe {claim.tenant_id} {claim.message_id} {claim.contact_id} {list_id}"
    event_id = hashlib.blake2b(name.encode(), digest_size=16).digest()
    detail = "list:all" if list_id == ALL_LISTS else f"list:{list_id}"
    await connection.execute(_EVENT_SQL, event_id, claim.tenant_id, campaign_id, claim.message_id, detail, now)
    if campaign_id and await connection.fetchval(_FIRST_SQL, claim.message_id, now):
        await counters.add(connection, campaign_id, {"unsubscribed": 1})


async def _resolve_unknown(connection: Connection, message_id: int) -> None:
    """Who unsubscribes by a mail has it: what was unknown was accepted."""
    unknown = await connection.fetchval(
        "SELECT true FROM messages WHERE id = $1 AND state = 'unknown' FOR UPDATE", message_id
    )
    if unknown:
        await ledger.move(connection, [message_id], MessageState.ACCEPTED, "engaged")


def _ids(claim: UnsubscribeClaim) -> tuple[int, int, int, int]:
    return claim.tenant_id, claim.list_id, claim.contact_id, claim.message_id
