"""The audience enters the ledger in pages: the first with the launch, the others by the scheduler.

Promises: each page is one transaction with the campaign's cursor, so a crash neither skips nor repeats anybody. Who was
subscribed at the launch is in the audience: one who left since is in the ledger as ``suppressed``, and so is whoever
gets no mail for another reason (``LeftOut``); the equation counts them. Who subscribes while the ledger is filled may
be in it or not. Rules of segments are looked at page by page, with the launch as "now" and people as they are then;
the tenant's policies are those of that moment too. A campaign that is cancelled meanwhile gets no further page; one
that excludes another gets none before that other one is filled, if it was launched earlier. Ids grow with the pages, so
the feeder's cursor sees all.
Fails: database errors come out; that page is copied by a later turn, and the other campaigns go first.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from hayabin.crash_points import CrashPoint, reach
from hayabin.database import counters
from hayabin.database.audience_count import count
from hayabin.database.audience_of import FINGERPRINT_SQL, audience_of
from hayabin.database.audience_sql import Audience, Window, Writing
from hayabin.database.engine import AWAY, Connection, Pool
from hayabin.database.erasing import erased_sql
from hayabin.database.segment_compiling import Parameters
from hayabin.database.segments import bounded
from hayabin.database.suppressing import suppressed_sql
from hayabin.domain.audience import LeftOut

__all__ = [
    "FIRST_PAGE_ROWS", "PAGE_ROWS", "Page", "Person", "count", "count_left_out", "fill_next", "fill_page", "first_page",
    "named",
]  # fmt: skip

FIRST_PAGE_ROWS = 1000
"""Copied by the launch itself: a few hundredths of a second."""
FIRST_S = 0.1
"""How long a launch may look for the first person who meets the rules."""
PAGE_ROWS = 5000
WINDOW_PAGES = 4
"""Of an audience with segments so many times a page's rows are looked at in a turn."""
PAGE_S = 50.0
"""For a page by rules; beyond that nobody would wait for its answer."""
BEHIND_TURNS = 64
"""So many turns later comes a campaign whose page cannot be made, so that it does not keep the others waiting."""
FILL_LOCK = 7246002
OTHERS_LOCK = 7246005


def _left_out(left: str) -> str:
    """SQL for the reason why ``p`` gets no mail, '' where it does; of an audience that is one list."""
    return f"""CASE WHEN {left} THEN '{LeftOut.UNSUBSCRIBED}'
        WHEN {erased_sql("$2", "p.address_key")} THEN '{LeftOut.ERASED}'
        WHEN {suppressed_sql("$2", "p.address_key", "COALESCE($3::bigint, 0)")} THEN '{LeftOut.SUPPRESSED}'
        ELSE '' END"""


# Rows are numbered, and then inserted, in the order of ``people``; the sequence is looked up once, not for each.
_FILL_LEDGER = """
audience AS MATERIALIZED (
    SELECT nextval((SELECT pg_get_serial_sequence('messages', 'id')::regclass)) AS id, p.*, {left_out} AS left_out
    FROM people p),
led AS (
    INSERT INTO messages (id, tenant_id, campaign_id, address_key, state, reason) OVERRIDING SYSTEM VALUE
    SELECT id, $2, $1, address_key, CASE left_out WHEN '' THEN 'due' ELSE 'suppressed' END, NULLIF(left_out, '')
    FROM audience),
snapshot AS (
    INSERT INTO recipients (message_id, tenant_id, campaign_id, contact_id, wire, name, variables)
    SELECT id, $2, $1, contact_id, wire, name, variables FROM audience),
reasons AS (SELECT left_out, count(*) AS n FROM audience GROUP BY left_out)
SELECT COALESCE(sum(n), 0)::bigint AS people, {looked_at} AS looked_at, {through} AS through_contact_id,
       COALESCE(json_object_agg(left_out, n) FILTER (WHERE left_out <> ''), '{{}}') AS left_out
FROM reasons"""

_THROUGH_AUDIENCE = {"looked_at": "COALESCE(sum(n), 0)::bigint",
                     "through": "COALESCE((SELECT max(contact_id) FROM audience), 0)"}  # fmt: skip
_THROUGH_CANDIDATES = {"looked_at": "(SELECT count(*) FROM candidates)",
                       "through": "COALESCE((SELECT max(contact_id) FROM candidates), 0)"}  # fmt: skip
_VARIABLES = "(c.attributes || jsonb_build_object('email', c.address, 'name', c.name))::text::json AS variables"

FILL_FROM_LIST_SQL = f"""
WITH people AS (
    SELECT c.id AS contact_id, c.wire, c.address_key, c.name, lm.state = 'subscribed' AS subscribed, {_VARIABLES}
    FROM list_members lm CROSS JOIN LATERAL ( -- OFFSET 0: one look-up for each member, whatever the planner thinks
        SELECT * FROM contacts c WHERE c.id = lm.contact_id AND c.tenant_id = $2 OFFSET 0) c
    WHERE lm.list_id = $3 AND lm.contact_id > $4
      AND (lm.state = 'subscribed' OR lm.updated_at > $5 AND lm.state <> 'pending')
    ORDER BY lm.contact_id LIMIT $6),
{_FILL_LEDGER.format(left_out=_left_out("NOT p.subscribed"), **_THROUGH_AUDIENCE)}"""  # noqa: S608 - a constant of ours

FILL_FROM_PEOPLE_SQL = f"""
WITH people AS (
    SELECT 0::bigint AS contact_id, * FROM unnest($4::text[], $5::text[], $6::text[], $7::json[])
        AS g(wire, address_key, name, variables)),
{_FILL_LEDGER.format(left_out=_left_out("false"), **_THROUGH_AUDIENCE)}"""  # noqa: S608 - a constant of ours

_WAITS = """EXISTS (
    SELECT 1 FROM campaigns x WHERE x.filling AND x.tenant_id = c.tenant_id
      AND (x.launched_at, x.id) < (COALESCE(c.launched_at, now()), c.id)
      AND c.audience_definition -> 'exclude_campaigns' @> to_jsonb(x.id))"""
"""Whether ``c`` excludes whoever is going to be in another one; by the order of launches none wait for each other."""

_BEGIN_SQL = f"""
UPDATE campaigns c SET fingerprint = {FINGERPRINT_SQL} FROM template_versions v
WHERE c.id = $1 AND v.id = c.template_version_id RETURNING {_WAITS}"""  # noqa: S608 - a constant of ours

_UNFILLED_SQL = f"""
SELECT c.id, c.filled_through_id FROM campaigns c
WHERE c.filling AND c.state IN ('sending', 'paused', 'completed') AND NOT {_WAITS}
ORDER BY c.fill_turns, c.id LIMIT 1"""  # noqa: S608 - a constant of ours

_PUT_BACK_SQL = "UPDATE campaigns SET fill_turns = fill_turns + $2 WHERE id = $1 AND filling"

_PAGE_TAKEN_SQL = """
UPDATE campaigns SET audience = audience + $3, filled_through_id = greatest(filled_through_id, $4), filling = NOT $5,
    fill_turns = fill_turns + 1, completed_at = NULL,
    state = CASE WHEN state = 'completed' THEN 'sending' ELSE state END
WHERE id = $1 AND filled_through_id = $2 AND filling AND state IN ('sending', 'paused', 'completed') RETURNING id"""
"""A release that knew of no pages may have taken a campaign for complete whose first page was through."""


@dataclass(frozen=True, slots=True)
class Page:
    """What one page put into the ledger."""

    people: int
    left_out: Mapping[str, int]
    """How many of them get no mail, by reason."""
    through_contact_id: int
    last: bool
    """Nobody comes after it."""

    @property
    def suppressed(self) -> int:
        """How many of them get no mail."""
        return sum(self.left_out.values())


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


class _Failed(Exception):
    """The page cannot be made; the cause says why."""

    def __init__(self, campaign_id: int) -> None:
        super().__init__(campaign_id)
        self.campaign_id = campaign_id


async def first_page(connection: Connection, campaign: Any) -> Page:
    """Copy the first page of a campaign that is being launched, within the caller's transaction.

    Of an audience by rules it is the first that has somebody in it, if that is found in ``FIRST_S``; the scheduler
    looks further otherwise, and when it has to wait for another campaign.
    """
    if await connection.fetchval(_BEGIN_SQL, campaign["id"]):
        return Page(0, {}, 0, last=False)
    until_s = time.monotonic() + FIRST_S
    after_contact_id = 0
    while True:
        page = await _page(connection, campaign["id"], after_contact_id=after_contact_id, limit=FIRST_PAGE_ROWS)
        if page.people or page.last or time.monotonic() > until_s:
            return page
        after_contact_id = page.through_contact_id


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
    except _Failed as failed:
        await connection.execute(_PUT_BACK_SQL, failed.campaign_id, BEHIND_TURNS)
        raise failed.__cause__ or failed from None


async def _next_page(connection: Connection) -> int:
    if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", FILL_LOCK):
        return 0
    campaign = await connection.fetchrow(_UNFILLED_SQL)
    if campaign is None:
        return 0
    after = campaign["filled_through_id"]
    try:
        page = await _page(connection, campaign["id"], after_contact_id=after, limit=PAGE_ROWS)
    except (_Stopped, *AWAY):
        raise
    except Exception as error:
        raise _Failed(campaign["id"]) from error
    await count_left_out(connection, campaign["id"], page)
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


async def count_left_out(connection: Connection, campaign_id: int, page: Page) -> None:
    """Count who of a page gets no mail, in all and by reason, within the caller's transaction."""
    if page.suppressed:
        by_reason = {f"suppressed:{reason}": n for reason, n in page.left_out.items()}
        await counters.add(connection, campaign_id, {"suppressed": page.suppressed, **by_reason})


async def _page(connection: Connection, campaign_id: int, *, after_contact_id: int, limit: int) -> Page:
    audience = await audience_of(connection, campaign_id, hold=True)
    if audience is not None and audience.looks_at_others:  # two launches at once must see each other's people
        await connection.execute("SELECT pg_advisory_xact_lock($1, hashint8($2))", OTHERS_LOCK, audience.tenant_id)
        audience = await audience_of(connection, campaign_id, hold=True)
    if audience is None:
        raise _Stopped
    if audience.plain:
        row = await connection.fetchrow(
            FILL_FROM_LIST_SQL,
            campaign_id,
            audience.tenant_id,
            audience.list_id,
            after_contact_id,
            audience.now,
            limit,
        )
        return _read(row, last_below=limit)
    window = limit * (WINDOW_PAGES if audience.definition.include_segments else 1)
    sql, parameters = by_definition(audience, after_contact_id, window)
    return _read((await bounded(connection, sql, parameters, PAGE_S, in_order=True))[0], last_below=window)


def by_definition(audience: Audience, after_contact_id: int, window: int) -> tuple[str, Parameters]:
    """The statement that fills a page of an audience that is more than a list, and its values."""
    writing = Writing(audience, first=(audience.campaign_id,), one_by_one=True)
    candidates = writing.candidates(Window(after_contact_id, window))
    people = writing.people("candidates", columns=f", c.wire, c.address_key, c.name, {_VARIABLES}")
    fill = _FILL_LEDGER.format(left_out="p.reason", **_THROUGH_CANDIDATES)
    sql = f"""
WITH candidates AS MATERIALIZED ({candidates}),
judged AS ({people}),
people AS (SELECT * FROM judged WHERE reason <> '{LeftOut.EXCLUDED}' ORDER BY contact_id),
{fill}"""  # noqa: S608 - constants of ours, values are parameters
    return sql, writing.parameters


def _read(row: Any, *, last_below: int | None) -> Page:
    left_out: dict[str, int] = orjson.loads(row["left_out"])
    last = last_below is None or row["looked_at"] < last_below
    return Page(row["people"], left_out, row["through_contact_id"], last)
