"""The mails that ask somebody to confirm, or tell that it was done: a campaign of the kind ``confirmation`` for them.

Promises: campaign, ledger rows and their chunks for the belt are written in the caller's transaction, together with
the ``message_id`` of each confirmation, which is how the link of the mail finds it. Such a campaign belongs to no list,
is of the transactional class and never appears among a tenant's campaigns. The token of the link is made by the
renderer and kept nowhere.
Fails: database errors as they are; nothing was sent then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from hayabin.database.built_in_mails import BuiltIn, version_of
from hayabin.database.engine import Connection
from hayabin.database.feeds import FeedTarget, feed_first
from hayabin.domain.campaign import CONFIRMATION, MergePolicy, MessageClass, RenderBelt

_CAMPAIGN_SQL: Final = """
INSERT INTO campaigns (tenant_id, name, class, kind, state, template_version_id, domain_id, from_name, from_address,
                       reply_to, pool, merge_policy, launched_at, audience)
VALUES ($1, $2, $3, $4, 'sending', $5, $6, $7, $8, $9, $10, $11, now(), $12) RETURNING id, launched_at"""

_LEDGER_SQL: Final = """
WITH asked AS MATERIALIZED (
    SELECT nextval((SELECT pg_get_serial_sequence('messages', 'id')::regclass)) AS id, a.*
    FROM unnest($3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::json[])
        AS a(confirmation_id, contact_id, wire, address_key, name, variables)),
led AS (
    INSERT INTO messages (id, tenant_id, campaign_id, address_key) OVERRIDING SYSTEM VALUE
    SELECT id, $2, $1, address_key FROM asked),
snapshot AS (
    INSERT INTO recipients (message_id, tenant_id, campaign_id, contact_id, wire, name, variables)
    SELECT id, $2, $1, contact_id, wire, name, variables FROM asked)
UPDATE confirmations c SET message_id = a.id, state = 'mailed' FROM asked a
WHERE c.id = a.confirmation_id AND c.tenant_id = $2"""


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes, and what: mails of one ``Writer`` go in one campaign."""

    tenant_id: int
    subject: str
    """What the campaign is called."""
    domain_id: int
    from_name: str
    from_address: str
    reply_to: str
    pool: str
    locale: str
    built_in: BuiltIn
    template_version_id: int | None = None
    """A template of the tenant's; the built-in one where None."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Somebody who is asked; ``variables`` are for the template, beside ``email``, ``name`` and ``confirm_url``."""

    confirmation_id: int | None
    """None for who is only told something: the link of such a mail confirms nothing."""
    contact_id: int
    address: str
    wire: str
    address_key: str
    name: str
    variables: dict[str, Any]


async def send(connection: Connection, writer: Writer, asked: Sequence[Asked]) -> None:
    """Put a mail for each into the ledger and on the way to the belt, within the caller's transaction."""
    version_id = writer.template_version_id or await version_of(
        connection, writer.tenant_id, writer.built_in, writer.locale
    )
    campaign: Any = await connection.fetchrow(
        _CAMPAIGN_SQL,
        writer.tenant_id,
        writer.subject,
        MessageClass.TRANSACTIONAL.value,
        CONFIRMATION,
        version_id,
        writer.domain_id,
        writer.from_name,
        writer.from_address,
        writer.reply_to,
        writer.pool,
        MergePolicy.FALLBACK.value,
        len(asked),
    )
    await connection.execute(
        _LEDGER_SQL,
        campaign["id"],
        writer.tenant_id,
        [one.confirmation_id for one in asked],
        [one.contact_id for one in asked],
        [one.wire for one in asked],
        [one.address_key for one in asked],
        [one.name for one in asked],
        [orjson.dumps({**one.variables, "email": one.address, "name": one.name}).decode() for one in asked],
    )
    target = FeedTarget(campaign["id"], writer.tenant_id, MessageClass.TRANSACTIONAL.value, "", campaign["launched_at"])
    await feed_first(connection, target, 0, len(asked), RenderBelt.TRANSACTIONAL)
