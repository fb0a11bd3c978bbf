"""Launch, pause, resume, cancel, schedule: the moves of a campaign and what each does to the ledger.

Promises: a launch is one transaction of the caller: state, audience snapshot and the first chunks for the belt commit
together or not at all. Addresses that are suppressed now enter the ledger as ``suppressed``: the equation counts them.
Fails: ``CampaignMissing``, ``IllegalTransition`` (launched twice …), ``EmptyAudience``; nothing changed then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from hayabin.database import counters
from hayabin.database.engine import Connection
from hayabin.database.feeds import FeedTarget, end_leases, feed_first
from hayabin.domain.campaign import (
    LAUNCHABLE,
    CampaignState,
    IllegalTransition,
    MessageClass,
    RenderBelt,
    require_transition,
)

FIRST_FEED_ROWS = 1000


class CampaignMissing(Exception):
    """There is no such campaign for this tenant."""


class EmptyAudience(Exception):
    """Nobody is subscribed: there is nothing to launch."""


@dataclass(frozen=True, slots=True)
class LaunchResult:
    """What a launch put into the ledger."""

    audience: int
    suppressed: int


@dataclass(frozen=True, slots=True)
class Person:
    """A recipient that is named rather than taken from a list (test sends)."""

    address: str
    wire: str
    address_key: str
    name: str
    variables: dict[str, Any]


_SUPPRESSED = """EXISTS (SELECT 1 FROM suppressions s WHERE s.tenant_id = $2 AND s.address_key = p.address_key
    AND s.list_id IN (0, COALESCE($3::bigint, 0)) AND (s.expires_at IS NULL OR s.expires_at > now()))"""

_FILL_LEDGER = f"""
audience AS MATERIALIZED (
    SELECT nextval(pg_get_serial_sequence('messages', 'id')) AS id, p.*,
           CASE WHEN {_SUPPRESSED} THEN 'suppressed' ELSE 'due' END AS state
    FROM people p),
led AS (
    INSERT INTO messages (id, tenant_id, campaign_id, address_key, state, reason) OVERRIDING SYSTEM VALUE
    SELECT id, $2, $1, address_key, state, NULLIF(state, 'due') FROM audience ORDER BY id),
snapshot AS (
    INSERT INTO recipients (message_id, tenant_id, campaign_id, contact_id, wire, name, variables)
    SELECT id, $2, $1, contact_id, wire, name, variables FROM audience ORDER BY id)
SELECT count(*) AS audience, count(*) FILTER (WHERE state = 'suppressed') AS suppressed FROM audience
"""  # noqa: S608 - a constant of ours

SNAPSHOT_LIST_SQL = f"""
WITH people AS (
    SELECT c.id AS contact_id, c.wire, c.address_key, c.name,
           (c.attributes || jsonb_build_object('email', c.address, 'name', c.name))::text::json AS variables
    FROM list_members lm CROSS JOIN LATERAL ( -- OFFSET 0: one look-up for each member, whatever the planner thinks
        SELECT * FROM contacts c WHERE c.id = lm.contact_id AND c.tenant_id = $2 OFFSET 0) c
    WHERE lm.list_id = $3 AND lm.state = 'subscribed' ORDER BY c.id),
{_FILL_LEDGER}"""  # noqa: S608 - a constant of ours

SNAPSHOT_PEOPLE_SQL = f"""
WITH people AS (
    SELECT 0::bigint AS contact_id, * FROM unnest($4::text[], $5::text[], $6::text[], $7::json[])
        AS g(wire, address_key, name, variables)),
{_FILL_LEDGER}"""  # noqa: S608 - a constant of ours


async def launch(connection: Connection, campaign_id: int, *, tenant_id: int, traceparent: str = "") -> LaunchResult:
    """Launch a campaign to the subscribed members of its list, within the caller's transaction.

    Raises:
        CampaignMissing, IllegalTransition, EmptyAudience: see the module.
    """
    campaign = await _locked(connection, campaign_id, tenant_id)
    filled = await _filled(connection, campaign, [campaign["list_id"]], SNAPSHOT_LIST_SQL)
    return await _started(connection, campaign, filled, traceparent)


async def launch_to(
    connection: Connection, campaign_id: int, people: Sequence[Person], *, tenant_id: int, traceparent: str = ""
) -> LaunchResult:
    """Launch a campaign to the people given, within the caller's transaction; fails as ``launch`` does."""
    campaign = await _locked(connection, campaign_id, tenant_id)
    variables = [
        orjson.dumps({**person.variables, "email": person.address, "name": person.name}).decode() for person in people
    ]
    arguments = [
        None,
        [person.wire for person in people],
        [person.address_key for person in people],
        [person.name for person in people],
        variables,
    ]
    filled = await _filled(connection, campaign, arguments, SNAPSHOT_PEOPLE_SQL)
    return await _started(connection, campaign, filled, traceparent)


async def change_state(
    connection: Connection, campaign_id: int, tenant_id: int, target: CampaignState, reason: str = ""
) -> None:
    """Pause, resume, cancel, schedule or fail a campaign, within the caller's transaction.

    The gate looks at the state in each claim, so a pause or cancel holds from the commit on. A resume ends all leases
    of the campaign, so what the gate sent away meanwhile is fed again at once. Rows of a cancelled campaign are moved
    by the scheduler, in pages.

    Raises:
        CampaignMissing, IllegalTransition: see the module.
    """
    campaign = await _locked(connection, campaign_id, tenant_id)
    require_transition(CampaignState(campaign["state"]), target)
    await connection.execute(
        "UPDATE campaigns SET state = $2, state_reason = $3, updated_at = now() WHERE id = $1",
        campaign_id,
        target.value,
        reason,
    )
    if target is CampaignState.SENDING:
        await end_leases(connection, campaign_id)


async def _locked(connection: Connection, campaign_id: int, tenant_id: int) -> Any:
    campaign = await connection.fetchrow(
        "SELECT * FROM campaigns WHERE id = $1 AND tenant_id = $2 FOR UPDATE", campaign_id, tenant_id
    )
    if campaign is None:
        raise CampaignMissing
    return campaign


async def _filled(connection: Connection, campaign: Any, arguments: Sequence[object], sql: str) -> LaunchResult:
    current = CampaignState(campaign["state"])
    require_transition(current, CampaignState.SENDING)
    if current not in LAUNCHABLE:  # paused → sending is a resume, completed → sending a reopening
        raise IllegalTransition(current, CampaignState.SENDING)
    row = await connection.fetchrow(sql, campaign["id"], campaign["tenant_id"], *arguments)
    if row is None or row["audience"] == 0:
        raise EmptyAudience
    return LaunchResult(row["audience"], row["suppressed"])


async def _started(connection: Connection, campaign: Any, filled: LaunchResult, traceparent: str) -> LaunchResult:
    launched_at = await connection.fetchval(
        "UPDATE campaigns SET state = 'sending', state_reason = '', launched_at = now(), updated_at = now(), "
        "audience = $2, traceparent = $3 WHERE id = $1 RETURNING launched_at",
        campaign["id"],
        filled.audience,
        traceparent,
    )
    if filled.suppressed:
        await counters.add(connection, campaign["id"], {"suppressed": filled.suppressed})
    target = FeedTarget(campaign["id"], campaign["tenant_id"], campaign["class"], traceparent, launched_at)
    first = RenderBelt.FIRST if campaign["class"] == MessageClass.BULK else RenderBelt.TRANSACTIONAL
    await feed_first(connection, target, 0, FIRST_FEED_ROWS, first)
    return filled
