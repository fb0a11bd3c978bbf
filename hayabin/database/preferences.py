"""The preference centre's side of the database: what a person of a signed link wants, and how it is changed.

Promises: every change is in the consent ledger with where it came from, and in the history; asked again, it changes
nothing. Shown are the lists that the tenant calls public, and the one of the mail that the link stands in. A pause is a
suppression of every mail that ends by itself; it never shortens what stands for good.
Fails: database errors as they are; nothing was changed then.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from hayabin.database import consent, subscriptions, unsubscribing
from hayabin.database.consent import Evidence
from hayabin.database.contact_history import ChangeSource, note
from hayabin.database.engine import Connection
from hayabin.database.sign_up_rates import DAY_S, Rate, take
from hayabin.domain.address import Address
from hayabin.domain.consent import ConsentAction, ConsentBasis, SubscriptionState
from hayabin.domain.token import UnsubscribeClaim

PAUSE_DAYS: Final = 30
ADDRESS_CHANGES_PER_DAY: Final = 3

_PERSON_SQL = """
SELECT t.name AS tenant, c.id AS contact_id, c.wire, c.address_key, c.locale,
       (SELECT expires_at FROM suppressions s WHERE s.tenant_id = t.id AND s.address_key = c.address_key
          AND s.list_id = 0 AND s.reason = 'paused' AND s.expires_at > now()) AS paused_until,
       EXISTS (SELECT 1 FROM suppressions s WHERE s.tenant_id = t.id AND s.address_key = c.address_key
          AND s.list_id = 0 AND s.reason = 'unsubscribe') AS all_stopped
FROM tenants t
LEFT JOIN messages m ON m.id = $3 AND m.tenant_id = t.id
LEFT JOIN LATERAL (
    SELECT * FROM contacts c WHERE c.tenant_id = t.id AND (c.id = $2 OR c.address_key = m.address_key)
    ORDER BY c.id = $2 DESC LIMIT 1) c ON true
WHERE t.id = $1"""

_TOPICS_SQL = """
SELECT l.id, COALESCE(NULLIF(l.public_name, ''), l.name) AS name, l.description,
       COALESCE(lm.state = 'subscribed', false) AND NOT $5 AND NOT EXISTS (
           SELECT 1 FROM suppressions s WHERE s.tenant_id = l.tenant_id AND s.address_key = $4 AND s.list_id = l.id
             AND s.reason = 'unsubscribe') AS subscribed
FROM lists l LEFT JOIN list_members lm ON lm.list_id = l.id AND lm.contact_id = $2
WHERE l.tenant_id = $1 AND (l.public OR l.id = $3) ORDER BY l.id LIMIT 50"""

_PAUSE_SQL = """
INSERT INTO suppressions AS s (tenant_id, address_key, list_id, reason, source, expires_at)
VALUES ($1, $2, 0, 'paused', $3, now() + make_interval(days => $4))
ON CONFLICT (tenant_id, address_key, list_id) DO UPDATE
SET reason = excluded.reason, source = excluded.source, created_at = now(), expires_at = excluded.expires_at
WHERE s.reason = 'paused' OR s.expires_at <= now() RETURNING true"""

_RESUME_SQL = """
DELETE FROM suppressions WHERE tenant_id = $1 AND address_key = $2 AND list_id = 0 AND reason = 'paused'
RETURNING true"""

_LANGUAGE_SQL = """
UPDATE contacts SET locale = $3, updated_at = now() WHERE tenant_id = $1 AND id = $2 AND locale <> $3 RETURNING true"""

_ADDRESS_SQL = """
INSERT INTO confirmations (tenant_id, kind, source_campaign_id, contact_id, address, wire, address_key, locale, ip,
                           user_agent)
SELECT $1, 'address', (SELECT campaign_id FROM recipients WHERE message_id = $2 AND tenant_id = $1),
       $3, $4, $5, $6, $7, $8, $9"""


@dataclass(frozen=True, slots=True)
class Topic:
    """A list as the page shows it."""

    id: int
    name: str
    description: str
    subscribed: bool


@dataclass(frozen=True, slots=True)
class Preferences:
    """Where somebody stands; ``contact_id`` is None where nothing is known of them any more."""

    tenant: str
    contact_id: int | None
    wire: str
    address_key: str
    locale: str
    paused_until: datetime | None
    all_stopped: bool
    topics: tuple[Topic, ...]


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who acts by a link, and by which."""

    claim: UnsubscribeClaim
    ip: str
    user_agent: str

    def evidence(self, action: ConsentAction, what: str = "") -> Evidence:
        """That they did it."""
        return Evidence(
            action=action,
            basis=ConsentBasis.FORM,
            source=self.source,
            ip=self.ip or None,
            user_agent=self.user_agent,
            note=what,
            by_link=True,
        )

    @property
    def source(self) -> str:
        """Which link it was."""
        return f"preference:message:{self.claim.message_id}"


async def look(connection: Connection, claim: UnsubscribeClaim) -> Preferences | None:
    """Where the person of a token stands; None where the tenant is gone."""
    row = await connection.fetchrow(_PERSON_SQL, claim.tenant_id, claim.contact_id, claim.message_id)
    if row is None:
        return None
    topics: list[Any] = []
    if row["contact_id"] is not None:
        topics = await connection.fetch(
            _TOPICS_SQL, claim.tenant_id, row["contact_id"], claim.list_id, row["address_key"], row["all_stopped"]
        )
    return Preferences(
        tenant=row["tenant"],
        contact_id=row["contact_id"],
        wire=row["wire"] or "",
        address_key=row["address_key"] or "",
        locale=row["locale"] or "",
        paused_until=row["paused_until"],
        all_stopped=row["all_stopped"],
        topics=tuple(Topic(t["id"], t["name"], t["description"], t["subscribed"]) for t in topics),
    )


async def choose(
    connection: Connection, visitor: Visitor, standing: Preferences, wanted: AbstractSet[int], locale: str
) -> None:
    """Subscribe to what is wanted of the lists shown, leave the others, and write in ``locale`` from now on."""
    claim, contact_id = visitor.claim, standing.contact_id
    if contact_id is None:
        return
    to = SubscriptionState
    for topic in standing.topics:
        if topic.id in wanted and not topic.subscribed:
            evidence = visitor.evidence(ConsentAction.CONFIRM)
            await subscriptions.move(connection, claim.tenant_id, topic.id, [contact_id], to.SUBSCRIBED, evidence)
        elif topic.id not in wanted and topic.subscribed:
            evidence = visitor.evidence(ConsentAction.OPT_OUT)
            await subscriptions.move(connection, claim.tenant_id, topic.id, [contact_id], to.UNSUBSCRIBED, evidence)
    if await connection.fetchval(_LANGUAGE_SQL, claim.tenant_id, contact_id, locale):
        await _changed(connection, visitor, contact_id, "locale", f"language {locale}")


async def pause(connection: Connection, visitor: Visitor, standing: Preferences) -> None:
    """No mail for ``PAUSE_DAYS`` days from now."""
    claim = visitor.claim
    if standing.contact_id is not None and await connection.fetchval(
        _PAUSE_SQL, claim.tenant_id, standing.address_key, visitor.source, PAUSE_DAYS
    ):
        await _changed(connection, visitor, standing.contact_id, "", f"pause of {PAUSE_DAYS} days")


async def resume(connection: Connection, visitor: Visitor, standing: Preferences) -> None:
    """End a pause."""
    if standing.contact_id is not None and await connection.fetchval(
        _RESUME_SQL, visitor.claim.tenant_id, standing.address_key
    ):
        await _changed(connection, visitor, standing.contact_id, "", "end of the pause")


async def leave(connection: Connection, visitor: Visitor, now: datetime) -> None:
    """No mail of the tenant any more."""
    hand = unsubscribing.Hand(ip=visitor.ip or None, user_agent=visitor.user_agent)
    await unsubscribing.stop(connection, visitor.claim, unsubscribing.Scope.ALL, now, hand)


async def ask_address(
    connection: Connection, visitor: Visitor, standing: Preferences, address: Address, locale: str
) -> None:
    """Have the new address asked whether it wants the mail; nothing changes before it says so."""
    claim = visitor.claim
    if standing.contact_id is None or address.key == standing.address_key:
        return
    if not await take(connection, Rate("address", str(standing.contact_id), ADDRESS_CHANGES_PER_DAY, DAY_S)):
        return
    await connection.execute(
        _ADDRESS_SQL,
        claim.tenant_id,
        claim.message_id,
        standing.contact_id,
        address.given,
        address.wire,
        address.key,
        locale,
        visitor.ip,
        visitor.user_agent,
    )


async def _changed(connection: Connection, visitor: Visitor, contact_id: int, field: str, what: str) -> None:
    tenant_id = visitor.claim.tenant_id
    await consent.record(connection, tenant_id, 0, [contact_id], visitor.evidence(ConsentAction.CHANGE, what))
    if field:
        await note(
            connection,
            tenant_id,
            [contact_id],
            actor=visitor.source,
            source=ChangeSource.PREFERENCE,
            field=field,
        )
