"""Messages in state ``unknown``: nobody can say whether the remote server took them; how they are found and settled.

No index names ``state``, so they are found where they can be few: under the leases of what is on the belt, and in
campaigns whose counters say that they have some.

Promises: whatever moves a row locks its campaign first, and the row again at its newest version: what a late outcome,
a DSN or an open settled meanwhile stays settled, nothing becomes due in a cancelled campaign, and no campaign completes
while rows of it become due again. A policy sends a message again once: only if each attempt before this one was a
deferral, so one mail more than wanted at the most. A completed campaign in which rows become due is sending again.
Fails: ``CampaignMissing``, ``IllegalTransition`` (resending in a cancelled campaign), database errors; nothing moved
then.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from hayabin.database import ledger
from hayabin.database.engine import Connection
from hayabin.database.launch import CampaignMissing
from hayabin.domain.campaign import CampaignState, MessageClass, require_transition
from hayabin.domain.message import MessageState

PAGE_ROWS = 5000
"""Rows that one statement moves at the most; bounds how long their locks are held."""

REOPENED = "reopened"
"""Why a campaign that was completed is sending."""

_TAKES_RESENDS = (CampaignState.SENDING, CampaignState.PAUSED)

_FIRST_DOUBT = """m.state = 'unknown' AND m.attempt = 1 + (
    SELECT count(*) FROM attempts a WHERE a.message_id = m.id AND a.attempt < m.attempt AND a.state = 'deferred')"""

# OFFSET 0: one look-up by id for each row of a lease, whatever the planner thinks of a table that has just grown.
ON_BELT_SQL = f"""
SELECT f.campaign_id, m.id FROM campaigns c JOIN feeds f ON f.campaign_id = c.id
CROSS JOIN LATERAL unnest(f.message_ids) AS fed(id) CROSS JOIN LATERAL (
    SELECT m.id FROM messages m WHERE m.id = fed.id AND m.attempt = f.attempt + 1 AND {_FIRST_DOUBT} OFFSET 0) m
WHERE c.class = ANY($1) AND c.state IN ('sending', 'paused') LIMIT {PAGE_ROWS}"""  # noqa: S608 - constants of ours

IN_CAMPAIGN_SQL = f"""
SELECT m.id FROM messages m WHERE m.campaign_id = $1 AND m.id > $2 AND {_FIRST_DOUBT}
ORDER BY m.id LIMIT {PAGE_ROWS}"""  # noqa: S608 - constants of ours

_LOCK_FIRST_DOUBT_SQL = f"SELECT m.id FROM messages m WHERE m.id = ANY($1) AND {_FIRST_DOUBT} ORDER BY m.id FOR UPDATE"  # noqa: S608

_LOCK_SQL = "SELECT id FROM messages WHERE id = ANY($1) AND state = 'unknown' ORDER BY id FOR UPDATE"

_LOCK_PAGE_SQL = """
SELECT id FROM messages WHERE campaign_id = $1 AND id > $2 AND state = 'unknown' ORDER BY id LIMIT $3 FOR UPDATE"""

_REOPEN_SQL = """
UPDATE campaigns SET state = 'sending', state_reason = $2, completed_at = NULL, updated_at = now()
WHERE id = $1 AND state = 'completed'"""


class Resolution(StrEnum):
    """What a person decides of messages that are unknown."""

    ACCEPTED = "accepted"  # the remote server is taken to have them
    RESEND = "resend"  # they are due again, though it may be the second mail


@dataclass(frozen=True, slots=True)
class Resolved:
    """What was settled of a campaign; ``through_id`` is the last row that was looked at, None at the end of them."""

    message_ids: list[int]
    through_id: int | None


async def on_belt(connection: Connection, classes: Sequence[MessageClass]) -> dict[int, list[int]]:
    """Up to ``PAGE_ROWS`` messages whose first doubt this is and that a lease still names, by campaign."""
    found: dict[int, list[int]] = defaultdict(list)
    for row in await connection.fetch(ON_BELT_SQL, [name.value for name in classes]):
        found[row["campaign_id"]].append(row["id"])
    return dict(found)


async def resend_once(connection: Connection, campaign_id: int, message_ids: Sequence[int]) -> int:
    """Make messages due whose first doubt this still is, in a transaction; returns how many."""
    async with connection.transaction():
        state = await connection.fetchval("SELECT state FROM campaigns WHERE id = $1 FOR SHARE", campaign_id)
        if state not in _TAKES_RESENDS:
            return 0
        rows = await connection.fetch(_LOCK_FIRST_DOUBT_SQL, list(message_ids))
        return len(await ledger.move(connection, [row["id"] for row in rows], MessageState.DUE, "resend_once"))


async def resend_rest_once(connection: Connection, campaign_id: int) -> int:
    """The same for all messages of a campaign, a page in each transaction; reads the campaign once."""
    moved, through_id = 0, 0
    while rows := await connection.fetch(IN_CAMPAIGN_SQL, campaign_id, through_id):
        ids = [row["id"] for row in rows]
        moved += await resend_once(connection, campaign_id, ids)
        through_id = ids[-1]
    return moved


async def resolve(
    connection: Connection, campaign_id: int, message_ids: Sequence[int], resolution: Resolution
) -> list[int]:
    """Settle messages of a campaign as a person says, within the caller's transaction; returns those that moved.

    Raises:
        CampaignMissing, IllegalTransition: see the module.
    """
    await _require_open_to(connection, campaign_id, resolution)
    rows = await connection.fetch(_LOCK_SQL, list(message_ids))
    return await _settle(connection, campaign_id, [row["id"] for row in rows], resolution)


async def resolve_some(
    connection: Connection, campaign_id: int, resolution: Resolution, *, after_id: int, limit: int
) -> Resolved:
    """Settle up to ``limit`` messages of a campaign after an id, page by page, within the caller's transaction.

    Raises:
        CampaignMissing, IllegalTransition: see the module.
    """
    await _require_open_to(connection, campaign_id, resolution)
    settled: list[int] = []
    through_id = after_id
    while len(settled) < limit:
        wanted = min(PAGE_ROWS, limit - len(settled))
        rows = await connection.fetch(_LOCK_PAGE_SQL, campaign_id, through_id, wanted)
        settled += await _settle(connection, campaign_id, [row["id"] for row in rows], resolution)
        if len(rows) < wanted:
            return Resolved(settled, None)
        through_id = rows[-1]["id"]
    return Resolved(settled, through_id)


async def _require_open_to(connection: Connection, campaign_id: int, resolution: Resolution) -> None:
    """Lock the campaign, and pass silently where its state allows the resolution."""
    state = await connection.fetchval("SELECT state FROM campaigns WHERE id = $1 FOR UPDATE", campaign_id)
    if state is None:
        raise CampaignMissing
    if resolution is Resolution.RESEND and state not in _TAKES_RESENDS:
        require_transition(CampaignState(state), CampaignState.SENDING)


async def _settle(connection: Connection, campaign_id: int, ids: Sequence[int], resolution: Resolution) -> list[int]:
    if not ids:
        return []
    if resolution is Resolution.ACCEPTED:
        return await ledger.move(connection, ids, MessageState.ACCEPTED, "resolved_accepted")
    moved = await ledger.move(connection, ids, MessageState.DUE, "resolved_resend")
    await connection.execute(_REOPEN_SQL, campaign_id, REOPENED)
    return moved
