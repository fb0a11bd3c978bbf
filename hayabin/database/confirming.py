"""What a person confirms by the link of a mail: a sign-up, or a new address. One transaction of the caller.

Promises: ``confirm`` does it once, within the time that the mail says; asked again it changes nothing. A confirmed
sign-up is the person's own act: it subscribes whoever had unsubscribed, ends their pause, and forgets that they were
erased. A new address takes the person's wishes along; where somebody of the tenant has it already, that contact takes
over the subscriptions and the old one is left with none. The old address is told (``address_notices``).
Fails: database errors as they are; nothing was changed then.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import asyncpg

from hayabin.database import consent, erasing, subscriptions
from hayabin.database.address_notices import tell_old_address
from hayabin.database.consent import Evidence
from hayabin.database.contact_history import ChangeSource, note
from hayabin.database.engine import Connection
from hayabin.database.signing_up import fill_in, make_contact, source_of, wording_of
from hayabin.domain.address_flags import flags_of
from hayabin.domain.consent import ConsentAction, ConsentBasis, SubscriptionState

_ASKED_SQL = """
SELECT c.*, t.name AS tenant, c.expires_at <= now() AS expired, f.id IS NOT NULL AND f.deleted_at IS NOT NULL AS gone,
       v.wording, ARRAY(SELECT COALESCE(NULLIF(l.public_name, ''), l.name) FROM lists l
                        WHERE l.id = ANY(c.list_ids) AND l.tenant_id = c.tenant_id ORDER BY l.id) AS topics
FROM confirmations c JOIN tenants t ON t.id = c.tenant_id
LEFT JOIN sign_up_forms f ON f.id = c.form_id
LEFT JOIN sign_up_form_versions v ON v.form_id = c.form_id AND v.number = c.form_version
WHERE c.message_id = $1"""

_SETTLE_SQL = "UPDATE confirmations SET state = 'confirmed', settled_at = now(), contact_id = $2 WHERE id = $1"

_END_PAUSE_SQL = """
DELETE FROM suppressions WHERE tenant_id = $1 AND address_key = $2 AND list_id = 0 AND reason = 'paused'"""

_CARRY_WISHES_SQL = """
INSERT INTO suppressions (tenant_id, address_key, list_id, reason, source, expires_at)
SELECT s.tenant_id, $3, s.list_id, s.reason, s.source, s.expires_at FROM suppressions s
WHERE s.tenant_id = $1 AND s.address_key = $2 AND s.reason IN ('unsubscribe', 'paused') ON CONFLICT DO NOTHING"""

_HOLDER_SQL = "SELECT id FROM contacts WHERE tenant_id = $1 AND address_key = $2"

_READDRESS_SQL = """
UPDATE contacts SET address = $3, wire = $4, address_key = $5, flags = $6, updated_at = now()
WHERE tenant_id = $1 AND id = $2"""

FORGET_SQL: Final = (
    """
    DELETE FROM contacts k USING confirmations c
    WHERE c.expires_at < now() - interval '7 days' AND c.made_contact AND c.state = 'mailed'
      AND k.id = c.contact_id AND k.tenant_id = c.tenant_id AND k.updated_at = k.created_at
      AND NOT EXISTS (SELECT 1 FROM list_members m WHERE m.contact_id = k.id AND m.state <> 'pending')
      AND NOT EXISTS (SELECT 1 FROM confirmations o WHERE o.tenant_id = k.tenant_id AND o.address_key = k.address_key
                      AND o.id <> c.id AND (o.state = 'confirmed' OR o.expires_at > now()))""",
    "DELETE FROM confirmations WHERE expires_at < now() - interval '7 days'",
)
"""Who never confirmed is forgotten with their request, a week after it expired: until then its link says that it did.
Whom the tenant has entered or changed since stays. What was confirmed stands in the consent ledger."""


class Verdict(StrEnum):
    """What a link is good for."""

    OPEN = "open"
    """It can be confirmed."""
    DONE = "done"
    """It has been confirmed."""
    OVER = "over"
    """Too late, or the form is gone."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What a link asks, as far as a page shows it."""

    row: Mapping[str, Any]

    @property
    def address(self) -> str:
        """The address that was asked, as its token covers it."""
        wire: str = self.row["wire"]
        return wire

    @property
    def verdict(self) -> Verdict:
        """Whether it can still be confirmed."""
        if self.row["state"] == "confirmed":
            return Verdict.DONE
        return Verdict.OVER if self.row["expired"] or self.row["gone"] else Verdict.OPEN


async def look(connection: Connection, message_id: int, *, lock: bool = False) -> Confirmation | None:
    """What the mail ``message_id`` asked; None where it asked nothing, or that is long forgotten."""
    row = await connection.fetchrow(_ASKED_SQL + (" FOR UPDATE OF c" if lock else ""), message_id)
    return None if row is None else Confirmation(dict(row))


async def confirm(connection: Connection, asked: Confirmation, ip: str, user_agent: str) -> None:
    """Do what was asked; ``asked`` must be open, and locked by ``look``."""
    row = asked.row
    evidence = Evidence(
        action=ConsentAction.CONFIRM if row["kind"] == "sign_up" else ConsentAction.CHANGE,
        basis=ConsentBasis.FORM,
        source=source_of(row) if row["kind"] == "sign_up" else f"preference:message:{row['message_id']}",
        wording=wording_of(row) if row["kind"] == "sign_up" else "",
        ip=ip or None,
        user_agent=user_agent,
        by_link=True,
    )
    await erasing.forget(connection, row["tenant_id"], row["address_key"])
    if row["kind"] == "sign_up":
        contact_id: int | None = await _sign_up(connection, row, evidence)
    else:
        contact_id = await _readdress(connection, row, evidence)
    await connection.execute(_SETTLE_SQL, row["id"], contact_id)


async def _sign_up(connection: Connection, row: Mapping[str, Any], evidence: Evidence) -> int:
    contact_id, _ = await make_contact(connection, row)
    await fill_in(connection, row, contact_id)
    for list_id in sorted(row["list_ids"]):
        await subscriptions.move(
            connection, row["tenant_id"], list_id, [contact_id], SubscriptionState.SUBSCRIBED, evidence
        )
    await connection.execute(_END_PAUSE_SQL, row["tenant_id"], row["address_key"])
    return contact_id


async def _readdress(connection: Connection, row: Mapping[str, Any], evidence: Evidence) -> int | None:
    """Give the contact its new address; its id, or that of who has the address already."""
    tenant_id, key = row["tenant_id"], row["address_key"]
    old = await connection.fetchrow(
        "SELECT id, address, wire, address_key, name, locale FROM contacts WHERE tenant_id = $1 AND id = $2 FOR UPDATE",
        tenant_id,
        row["contact_id"],
    )
    if old is None:
        return None
    await connection.execute(_CARRY_WISHES_SQL, tenant_id, old["address_key"], key)
    try:
        async with connection.transaction():
            values = (row["address"], row["wire"], key, flags_of(key))
            await connection.execute(_READDRESS_SQL, tenant_id, old["id"], *values)
    except asyncpg.UniqueViolationError:  # somebody has it, perhaps since a moment ago
        contact_id: int = await connection.fetchval(_HOLDER_SQL, tenant_id, key)
        await _take_over(connection, tenant_id, old["id"], contact_id, evidence)
    else:
        contact_id = old["id"]
        actor = evidence.source
        await note(connection, tenant_id, [old["id"]], actor=actor, source=ChangeSource.PREFERENCE, field="email")
        await subscriptions.reinstate(
            connection, tenant_id, [key], actor
        )  # the mailbox that had ended is no longer theirs
    await consent.record(connection, tenant_id, 0, [contact_id], evidence)
    if old["address_key"] != key:
        await tell_old_address(connection, row, dict(old))
    return contact_id


async def _take_over(connection: Connection, tenant_id: int, old_id: int, new_id: int, evidence: Evidence) -> None:
    """Subscribe one contact to what the other has, and take that one off."""
    lists = await connection.fetch(
        "SELECT list_id FROM list_members WHERE contact_id = $1 AND state = 'subscribed' ORDER BY list_id", old_id
    )
    arriving = Evidence(
        action=ConsentAction.CONFIRM,
        basis=evidence.basis,
        source=evidence.source,
        ip=evidence.ip,
        user_agent=evidence.user_agent,
        by_link=evidence.by_link,
    )
    leaving = Evidence(action=ConsentAction.OPT_OUT, basis=evidence.basis, source=evidence.source, ip=evidence.ip)
    for row in lists:
        list_id: int = row["list_id"]
        await subscriptions.move(connection, tenant_id, list_id, [new_id], SubscriptionState.SUBSCRIBED, arriving)
        await subscriptions.move(connection, tenant_id, list_id, [old_id], SubscriptionState.UNSUBSCRIBED, leaving)
