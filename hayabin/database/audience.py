"""The audience enters the ledger in pages: the first with the launch, the others by the scheduler.

Promises: each page is one transaction with the campaign's cursor, so a crash neither skips nor repeats anybody. Who was
subscribed at the launch is in the audience: one who left since is in the ledger as ``suppressed``, and so is whose
address is suppressed; the equation counts them. Who subscribes while the ledger is filled may be in it or not. A
campaign that is cancelled meanwhile gets no further page. Ids grow with the pages, so the feeder's cursor sees all.
Fails: database errors come out; that page is copied by the next turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from hayabin.crash_points import CrashPoint, reach
from hayabin.database import counters
from hayabin.database.engine import Connection, Pool

FIRST_PAGE_ROWS = 1000
"""Copied by the launch itself: a few hundredths of a second."""
PAGE_ROWS = 5000
FILL_LOCK = 7246002

_SUPPRESSED = """EXISTS (SELECT 1 FROM suppressions s WHERE s.tenant_id = $2 AND s.address_key = p.address_key
    AND s.list_id IN (0, COALESCE($3::bigint, 0)) AND (s.expires_at IS NULL OR s.expires_at > now()))"""

# Rows are numbered, and then inserted, in the order of ``people``; the sequence is looked up once, not for each.
_FILL_LEDGER = f"""
audience AS MATERIALIZED (
    SELECT nextval((SELECT pg_get_serial_sequence('messages', 'id')::regclass)) AS id, p.*,
           CASE WHEN NOT p.subscribed OR {_SUPPRESSED} THEN 'suppressed' ELSE 'due' END AS state
    FROM people p),
led AS (
    INSERT INTO messages (id, tenant_id, campaign_id, address_key, state, reason) OVERRIDING SYSTEM VALUE
    SELECT id, $2, $1, address_key, state, NULLIF(state, 'due') FROM audience),
snapshot AS (
    INSERT INTO recipients (message_id, tenant_id, campaign_id, contact_id, wire, name, variables)
    SELECT id, $2, $1, contact_id, wire, name, variables FROM audience)
SELECT count(*) AS people, count(*) FILTER (WHERE state = 'suppressed') AS suppressed,
       COALESCE(max(contact_id), 0) AS through_contact_id FROM audience
"""  # noqa: S608 - a constant of ours

FILL_FROM_LIST_SQL = f"""
WITH people AS (
    SELECT c.id AS contact_id, c.wire, c.address_key, c.name, lm.state = 'subscribed' AS subscribed,
           (c.attributes || jsonb_build_object('email', c.address, 'name', c.name))::text::json AS variables
    FROM list_members lm CROSS JOIN LATERAL ( -- OFFSET 0: one look-up for each member, whatever the planner thinks
        SELECT * FROM contacts c WHERE c.id = lm.contact_id AND c.tenant_id = $2 OFFSET 0) c
    WHERE lm.list_id = $3 AND lm.contact_id > $4 AND (lm.state = 'subscribed' OR lm.updated_at > $5)
    ORDER BY lm.contact_id LIMIT $6),
{_FILL_LEDGER}"""  # noqa: S608 - a constant of ours

FILL_FROM_PEOPLE_SQL = f"""
WITH people AS (
    SELECT 0::bigint AS contact_id, true AS subscribed, * FROM unnest($4::text[], $5::text[], $6::text[], $7::json[])
        AS g(wire, address_key, name, variables)),
{_FILL_LEDGER}"""  # noqa: S608 - a constant of ours

_UNFILLED_SQL = """
SELECT id, tenant_id, list_id, launched_at, filled_through_id FROM campaigns
WHERE filling AND state IN ('sending', 'paused', 'completed') ORDER BY audience, id LIMIT 1"""

_PAGE_TAKEN_SQL = """
UPDATE campaigns SET audience = audience + $3, filled_through_id = greatest(filled_through_id, $4), filling = NOT $5,
    state = CASE WHEN state = 'completed' THEN 'sending' ELSE state END, completed_at = NULL
WHERE id = $1 AND filled_through_id = $2 AND filling AND state IN ('sending', 'paused', 'completed') RETURNING id"""
"""A release that knew of no pages may have taken a campaign for complete whose first page was through."""


@dataclass(frozen=True, slots=True)
class Page:
    """What one page put into the ledger."""

    people: int
    suppressed: int
    through_contact_id: int
    last: bool
    """Nobody comes after it."""


@dataclass(frozen=True, slots=True)
class Person:
    """A recipient that is named rather than taken from a list (test sends)."""

    address: str
    wire: str
    address_key: str
    name: str
    variables: dict[str, Any]


class _Stopped(Exception):
    """The campaign was cancelled while the page was copied."""


async def first_page(connection: Connection, campaign: Any) -> Page:
    """Copy the first page of a campaign that is being launched, within the caller's transaction."""
    now = await connection.fetchval("SELECT now()")
    return await _page(connection, campaign, after_contact_id=0, launched_at=now, limit=FIRST_PAGE_ROWS)


async def named(connection: Connection, campaign: Any, people: Sequence[Person]) -> Page:
    """Copy the people given, all of them, within the caller's transaction."""
    variables = [
        orjson.dumps({**person.variables, "email": person.address, "name": person.name}).decode() for person in people
    ]
    row = await connection.fetchrow(
        FILL_FROM_PEOPLE_SQL,
        campaign["id"],
        campaign["tenant_id"],
        None,
        [person.wire for person in people],
        [person.address_key for person in people],
        [person.name for person in people],
        variables,
    )
    return _read(row, last_below=None)


async def fill_next(pool: Pool) -> int:
    """Copy a page with a connection of the pool; see ``fill_page``."""
    async with pool.acquire() as connection:
        return await fill_page(connection)


async def fill_page(connection: Connection) -> int:
    """Copy the next page of the campaign that has the fewest so far; returns how many people that were.

    A transaction of its own, by one replica at a time (advisory lock). The campaign's row is locked at the end only,
    so nobody waits for a page.
    """
    try:
        async with connection.transaction():
            return await _next_page(connection)
    except _Stopped:
        return 0


async def _next_page(connection: Connection) -> int:
    if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", FILL_LOCK):
        return 0
    campaign = await connection.fetchrow(_UNFILLED_SQL)
    if campaign is None:
        return 0
    page = await _page(
        connection,
        campaign,
        after_contact_id=campaign["filled_through_id"],
        launched_at=campaign["launched_at"],
        limit=PAGE_ROWS,
    )
    if page.suppressed:
        await counters.add(connection, campaign["id"], {"suppressed": page.suppressed})
    taken = await connection.fetchval(
        _PAGE_TAKEN_SQL,
        campaign["id"],
        campaign["filled_through_id"],
        page.people,
        page.through_contact_id,
        page.last,
    )
    if taken is None:
        raise _Stopped
    reach(CrashPoint.FILL_BEFORE_COMMIT)
    return page.people


async def _page(
    connection: Connection, campaign: Any, *, after_contact_id: int, launched_at: object, limit: int
) -> Page:
    row = await connection.fetchrow(
        FILL_FROM_LIST_SQL,
        campaign["id"],
        campaign["tenant_id"],
        campaign["list_id"],
        after_contact_id,
        launched_at,
        limit,
    )
    return _read(row, last_below=limit)


def _read(row: Any, *, last_below: int | None) -> Page:
    last = last_below is None or row["people"] < last_below
    return Page(row["people"], row["suppressed"], row["through_contact_id"], last)
