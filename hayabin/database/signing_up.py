"""Sign-ups that came by a form: taken down at once, answered by the scheduler.

Promises: ``take`` writes the same rows for every address, whoever has it, so neither words nor time of the answer tell
who is registered; all that depends on the person is done by ``answer_received``, later and elsewhere. An unconfirmed
stranger changes nothing of a contact that exists. Whoever complained, bounced or was suppressed by the sender gets no
mail; whoever unsubscribed, paused or was erased may come back by confirming; who is subscribed already gets none.
Fails: database errors as they are; a turn of ``answer_received`` is one transaction, and the next begins anew.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from hayabin.database import subscriptions
from hayabin.database.built_in_mails import BuiltIn
from hayabin.database.confirmation_mails import Asked, Writer, send
from hayabin.database.consent import Evidence
from hayabin.database.contact_history import ChangeSource, note
from hayabin.database.engine import Connection, Pool
from hayabin.database.erasing import erased_sql
from hayabin.database.sign_up_rates import DAY_S, HOUR_S, Rate, is_used_up, take
from hayabin.database.suppressing import ALL_LISTS, PLATFORM_TENANT, domain_sql
from hayabin.domain.address import Address
from hayabin.domain.address_flags import flags_of
from hayabin.domain.consent import ConsentAction, ConsentBasis, SubscriptionState
from hayabin.domain.suppression import OWN_ACTS
from hayabin.telemetry.logging import get_logger

TURN_ROWS: Final = 50
_OWN_ACTS: Final = ", ".join(f"'{reason}'" for reason in sorted(OWN_ACTS))

_TAKE_SQL = """
INSERT INTO confirmations (tenant_id, kind, state, reason, form_id, form_version, address, wire, address_key, name,
                           attributes, locale, ip, user_agent)
VALUES ($1, 'sign_up', $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"""

_STANDS = """s.tenant_id IN ({platform}, c.tenant_id) AND s.address_key IN (c.address_key, {domain})
      AND (s.expires_at IS NULL OR s.expires_at > now())""".format(
    platform=PLATFORM_TENANT, domain=domain_sql("c.address_key")
)

_RECEIVED_SQL = f"""
SELECT c.*, t.name AS tenant, k.id AS known_contact_id, f.deleted_at IS NOT NULL AS form_is_gone,
       COALESCE(v.double_opt_in OR f.double_opt_in, true) AS double_opt_in, COALESCE(v.list_ids, '{{}}') AS asked_lists,
       COALESCE(f.name, '') AS form, f.template_version_ids,
       COALESCE(f.domain_id, s.domain_id) AS domain_id, COALESCE(f.from_name, s.from_name) AS from_name,
       COALESCE(f.from_address, s.from_address) AS from_address, COALESCE(f.reply_to, s.reply_to) AS reply_to,
       COALESCE(f.pool, s.pool) AS pool, {erased_sql("c.tenant_id", "c.address_key")} AS erased,
       EXISTS (SELECT 1 FROM suppressions s WHERE {_STANDS}
               AND (s.list_id = {ALL_LISTS} OR s.list_id = ANY(v.list_ids))
               AND s.reason NOT IN ({_OWN_ACTS})) AS blocked
FROM confirmations c JOIN tenants t ON t.id = c.tenant_id
LEFT JOIN contacts k ON k.tenant_id = c.tenant_id AND k.address_key = c.address_key
LEFT JOIN sign_up_forms f ON f.id = c.form_id
LEFT JOIN sign_up_form_versions v ON v.form_id = c.form_id AND v.number = c.form_version
LEFT JOIN LATERAL (
    SELECT domain_id, from_name, from_address, reply_to, pool FROM campaigns m
    WHERE c.kind = 'address' AND m.tenant_id = c.tenant_id AND m.launched_at IS NOT NULL
    ORDER BY m.id = c.source_campaign_id DESC NULLS LAST, m.id DESC LIMIT 1) s ON true
WHERE c.state = 'received' ORDER BY c.id LIMIT {TURN_ROWS} FOR UPDATE OF c SKIP LOCKED"""  # noqa: S608 - expressions of ours

_OPEN_LISTS_SQL = f"""
SELECT l.id, COALESCE(NULLIF(l.public_name, ''), l.name) AS name FROM lists l, confirmations c
WHERE c.id = $1 AND l.tenant_id = c.tenant_id AND l.id = ANY($2) AND (
    NOT EXISTS (SELECT 1 FROM list_members m WHERE m.list_id = l.id AND m.contact_id = $3 AND m.state = 'subscribed')
    OR EXISTS (SELECT 1 FROM suppressions s WHERE {_STANDS} AND s.list_id IN ({ALL_LISTS}, l.id)
               AND s.reason IN ({_OWN_ACTS})))
ORDER BY l.id"""  # noqa: S608 - expressions of ours

_CONTACT_SQL = """
INSERT INTO contacts (tenant_id, address, wire, address_key, locale, flags) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (tenant_id, address_key) DO UPDATE SET address_key = excluded.address_key
RETURNING id, xmax = 0 AS made"""

_SETTLE_SQL = """
UPDATE confirmations SET state = $2, reason = $3, contact_id = $4, made_contact = $5, list_ids = $6,
    settled_at = CASE WHEN $2 IN ('ignored', 'confirmed') THEN now() END
WHERE id = $1"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignUp:
    """What somebody filled in; fields checked against the form's version, texts bounded."""

    form: Any
    """The form's row."""
    version: int
    address: Address
    name: str
    attributes: dict[str, str]
    locale: str
    ip: str
    user_agent: str
    network: str
    """What the limit per IP counts by: the address, or of IPv6 its /64."""


async def take_down(connection: Connection, sign_up: SignUp) -> bool:
    """Take a sign-up down, within the caller's transaction; false where the form or the network is over its rate.

    Who is over the rate of an address is told nothing of it, and the row is written as ever.
    """
    form, address = sign_up.form, sign_up.address
    scope = f"form:{form['id']}"
    whole = Rate(scope, "", form["per_form_per_hour"], HOUR_S)
    if await is_used_up(connection, whole):  # before anything is counted, so that no network leaves a row then
        return False
    if not await take(connection, Rate(f"{scope}:ip", sign_up.network, form["per_ip_per_hour"], HOUR_S)):
        return False
    if not await take(connection, whole):  # after: one network alone must not use up what is there for all
        return False
    within = await take(connection, Rate(f"{scope}:address", address.key, form["per_address_per_day"], DAY_S))
    await connection.execute(
        _TAKE_SQL,
        form["tenant_id"],
        "received" if within else "ignored",
        "" if within else "rate",
        form["id"],
        sign_up.version,
        address.given,
        address.wire,
        address.key,
        sign_up.name,
        sign_up.attributes,
        sign_up.locale,
        sign_up.ip,
        sign_up.user_agent,
    )
    return True


async def answer_received(pool: Pool) -> int:
    """Answer what was taken down, some dozens in one transaction; returns how many that were."""
    async with pool.acquire() as connection, connection.transaction():
        rows = await connection.fetch(_RECEIVED_SQL)
        mails: dict[Writer, list[Asked]] = defaultdict(list)
        for row in rows:
            asked = await _answered_or_given_up(connection, row)
            if asked is not None:
                mails[_writer(row)].append(asked)
        for writer, asked_of_writer in mails.items():
            await send(connection, writer, asked_of_writer)
    if rows:
        get_logger().info("sign_ups_answered", rows=len(rows), mails=sum(map(len, mails.values())))
    return len(rows)


async def _answered_or_given_up(connection: Connection, row: Any) -> Asked | None:
    """Settle a row, or say whom to ask; one that the database refuses does not stop those behind it."""
    try:
        async with connection.transaction():
            return await _answered(connection, row)
    except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
        get_logger().error("sign_up_given_up", confirmation_id=row["id"], error=type(error).__name__)
        return await _ignored(connection, row, "failed")


async def _answered(connection: Connection, row: Any) -> Asked | None:
    """Settle a row, or say whom to ask."""
    if row["blocked"]:
        return await _ignored(connection, row, "suppressed")
    if row["domain_id"] is None:
        return await _ignored(connection, row, "no_sender")
    if row["kind"] == "address":
        return _asked(row, row["contact_id"] or 0, {"sender": row["from_name"] or row["tenant"]})
    if row["form_is_gone"]:
        return await _ignored(connection, row, "form_deleted")
    topics = await connection.fetch(_OPEN_LISTS_SQL, row["id"], row["asked_lists"], row["known_contact_id"])
    if not topics:
        return await _ignored(connection, row, "subscribed")
    return await _sign_up(connection, row, {topic["id"]: topic["name"] for topic in topics})


async def _sign_up(connection: Connection, row: Any, topics: dict[int, str]) -> Asked | None:
    contact_id, made = row["known_contact_id"], False
    if contact_id is None and not row["erased"]:  # who was erased comes back by confirming, and is not known before
        contact_id, made = await make_contact(connection, row)
    to = SubscriptionState.PENDING if row["double_opt_in"] else SubscriptionState.SUBSCRIBED
    if contact_id is not None:
        for list_id in topics:
            await subscriptions.move(connection, row["tenant_id"], list_id, [contact_id], to, evidence_of(row))
    if not row["double_opt_in"]:
        if made:
            await fill_in(connection, row, contact_id)
        await connection.execute(_SETTLE_SQL, row["id"], "confirmed", "", contact_id, made, list(topics))
        return None
    await connection.execute(_SETTLE_SQL, row["id"], "received", "", contact_id, made, list(topics))
    variables = {"sender": row["from_name"] or row["tenant"], "topics": "、".join(topics.values())}
    if row["locale"] != "ja":
        variables["topics"] = ", ".join(topics.values())
    return _asked(row, contact_id or 0, variables)


async def make_contact(connection: Connection, row: Any) -> tuple[int, bool]:
    """The contact of a confirmation's address, and whether it is new; it has no more than address and language."""
    found: Any = await connection.fetchrow(
        _CONTACT_SQL,
        row["tenant_id"],
        row["address"],
        row["wire"],
        row["address_key"],
        row["locale"],
        flags_of(row["address_key"]),
    )
    if found["made"]:
        await note(
            connection,
            row["tenant_id"],
            [found["id"]],
            actor=source_of(row),
            source=ChangeSource.FORM,
            field="created",
        )
    return found["id"], found["made"]


async def fill_in(connection: Connection, row: Any, contact_id: int) -> None:
    """Give a contact what its person filled in; what they left empty stays as it was."""
    await connection.execute(
        "UPDATE contacts SET name = COALESCE(NULLIF($3, ''), name), attributes = attributes || $4, locale = $5, "
        "updated_at = now() WHERE tenant_id = $1 AND id = $2",
        row["tenant_id"],
        contact_id,
        row["name"],
        row["attributes"],
        row["locale"],
    )


def evidence_of(row: Any) -> Evidence:
    """What the request itself proves."""
    return Evidence(
        action=ConsentAction.OPT_IN,
        basis=ConsentBasis.FORM,
        source=source_of(row),
        wording=wording_of(row),
        ip=row["ip"] or None,
        user_agent=row["user_agent"],
        occurred_at=row["created_at"],
    )


def source_of(row: Any) -> str:
    """Which form it was."""
    return f"form:{row['form_id']}"


def wording_of(row: Any) -> str:
    """Which words they saw: version of the form, and language."""
    return f"{row['form_version']} ({row['locale']})"


async def _ignored(connection: Connection, row: Any, reason: str) -> Asked | None:
    """Settle a row without a mail: nobody is asked."""
    await connection.execute(_SETTLE_SQL, row["id"], "ignored", reason, row["contact_id"], False, row["list_ids"])
    return None


def _asked(row: Any, contact_id: int, variables: dict[str, Any]) -> Asked:
    return Asked(row["id"], contact_id, row["address"], row["wire"], row["address_key"], row["name"], variables)


def _writer(row: Any) -> Writer:
    of_form = row["kind"] == "sign_up"
    return Writer(
        tenant_id=row["tenant_id"],
        subject=f"confirmation: {row['form']}" if of_form else "confirmation of an address",
        domain_id=row["domain_id"],
        from_name=row["from_name"],
        from_address=row["from_address"],
        reply_to=row["reply_to"],
        pool=row["pool"],
        locale=row["locale"],
        built_in=BuiltIn.SIGN_UP if of_form else BuiltIn.ADDRESS,
        template_version_id=(row["template_version_ids"] or {}).get(row["locale"]),
    )
