"""Lists of messages by their state, and what a person decides of unknown ones: the SQL of the message routes.

No index names the state of a message (each claim and outcome would have to touch it), so a list goes by the campaigns
whose counters say that they have such messages, in order of campaign and id, and reads no further than to the last one.

Promises: every statement names the tenant. A page ends after ``READ_S`` at the next campaign, however many rows it has:
``next_cursor`` goes on from there.
Fails: ``Problem`` 404 for a campaign that is not the tenant's, 409 where its state does not allow the resolution, 422
for a cursor that is none of ours.
"""

import time
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from hayabin.database import unknown
from hayabin.database.counters import read_counters
from hayabin.database.unknown import Resolution
from hayabin.domain.campaign import CampaignState
from hayabin.domain.message import OPEN, MessageState
from hayabin.telemetry.logging import get_logger
from services.api.access import Db, Principal
from services.api.forms import Form
from services.api.paging import cursor_of, ids_after
from services.api.problems import Problem, not_found
from services.api.routes import campaign_rows

READ_S = 2.0
RESOLVED_MAX = 20_000
"""Messages that one request settles at the most: a few seconds."""
_SENDS_AGAIN = frozenset({CampaignState.SENDING, CampaignState.PAUSED, CampaignState.COMPLETED})
_FINAL = sorted(set(MessageState) - OPEN)

_CAMPAIGNS_SQL = """
SELECT id, n FROM (
    SELECT c.id, CASE WHEN $5 THEN c.audience - counted.n ELSE counted.n END AS n
    FROM campaigns c CROSS JOIN LATERAL (
        SELECT COALESCE(sum(n), 0)::bigint AS n FROM (
            SELECT n FROM counters k WHERE k.campaign_id = c.id AND k.name = ANY($4)
            UNION ALL SELECT n FROM counter_deltas d WHERE d.campaign_id = c.id AND d.name = ANY($4)) parts) counted
    WHERE c.tenant_id = $1 AND c.id >= $2 AND ($3::bigint IS NULL OR c.id = $3)) found
WHERE n > 0 ORDER BY id LIMIT $6"""

_ROWS_SQL = """
SELECT m.id, m.campaign_id, r.wire AS recipient, m.state, m.attempt AS attempts, m.reason, m.changed_at
FROM (SELECT * FROM messages WHERE campaign_id = $1 AND tenant_id = $2 AND id > $3
        AND ($4::text IS NULL OR state = $4) ORDER BY id LIMIT $5) m
CROSS JOIN LATERAL (SELECT wire FROM recipients WHERE message_id = m.id OFFSET 0) r
ORDER BY m.id"""


class ResolveForm(Form):
    """What is decided of unknown messages."""

    resolution: Annotated[Resolution, Field(alias="as", strict=False)]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which messages a list is of; a state, a campaign, or both."""

    state: MessageState | None
    campaign_id: int | None
    limit: int


async def page_of(db: Db, who: Principal, wanted: Wanted, cursor: str | None) -> dict[str, Any]:
    """A page of the list."""
    campaign_id, after_id = ids_after(cursor, 2)
    names, open_ones = _counted(wanted.state)
    campaigns = await db.fetch(
        _CAMPAIGNS_SQL, who.tenant_id, campaign_id, wanted.campaign_id, names, open_ones, wanted.limit + 1
    )
    items: list[dict[str, Any]] = []
    until = time.monotonic() + READ_S
    for campaign in campaigns:
        after_id = after_id if campaign["id"] == campaign_id else 0
        most = min(wanted.limit + 1 - len(items), campaign["n"])
        rows = await db.fetch(_ROWS_SQL, campaign["id"], who.tenant_id, after_id, wanted.state, most)
        items += [dict(row) for row in rows]
        if len(items) > wanted.limit:
            last = items[wanted.limit - 1]
            return {"items": items[: wanted.limit], "next_cursor": cursor_of(f"{last['campaign_id']} {last['id']}")}
        more = campaign is not campaigns[-1] or len(campaigns) > wanted.limit
        if more and (time.monotonic() > until or campaign is campaigns[-1]):
            return {"items": items, "next_cursor": cursor_of(f"{campaign['id'] + 1} 0")}
    return {"items": items, "next_cursor": None}


def _counted(state: MessageState | None) -> tuple[list[str], bool]:
    """Whose counters say how many there are; open rows have none: they are what is left of the audience."""
    if state is None:
        return [], True
    return ([final.value for final in _FINAL], True) if state in OPEN else ([state.value], False)


async def resolve_one(db: Db, who: Principal, message_id: int, resolution: Resolution) -> None:
    """Settle one message.

    Raises:
        Problem: 404, 409.
    """
    found = await db.fetchrow(
        "SELECT campaign_id, state FROM messages WHERE id = $1 AND tenant_id = $2", message_id, who.tenant_id
    )
    if found is None:
        raise not_found("message")
    await _require_possible(db, who, found["campaign_id"], resolution)
    if not await unknown.resolve(db, found["campaign_id"], [message_id], resolution):
        state = await db.fetchval("SELECT state FROM messages WHERE id = $1", message_id)
        raise Problem(409, "wrong-state", f"The message is {state}: only an unknown one can be resolved.")
    _note(who, found["campaign_id"], [message_id], resolution)


async def resolve_many(
    db: Db, who: Principal, campaign_id: int, resolution: Resolution, cursor: str | None
) -> dict[str, Any]:
    """Settle up to ``RESOLVED_MAX`` messages of a campaign.

    Raises:
        Problem: 404, 409.
    """
    (after_id,) = ids_after(cursor, 1)
    await _require_possible(db, who, campaign_id, resolution)
    done = await unknown.resolve_some(db, campaign_id, resolution, after_id=after_id, limit=RESOLVED_MAX)
    if done.message_ids:
        _note(who, campaign_id, done.message_ids, resolution)
    counted = await read_counters(db, campaign_id)
    return {
        "campaign_id": campaign_id,
        "resolved": len(done.message_ids),
        "remaining": counted.get(MessageState.UNKNOWN, 0),
        "next_cursor": None if done.through_id is None else cursor_of(done.through_id),
    }


async def _require_possible(db: Db, who: Principal, campaign_id: int, resolution: Resolution) -> None:
    """Pass silently where messages of the campaign can be settled so; its row is locked until the transaction ends."""
    campaign = await db.fetchrow(
        "SELECT state, pool FROM campaigns WHERE id = $1 AND tenant_id = $2 FOR UPDATE", campaign_id, who.tenant_id
    )
    if campaign is None:
        raise not_found("campaign")
    if resolution is Resolution.ACCEPTED:
        return
    if campaign["state"] not in _SENDS_AGAIN:
        raise Problem(
            409,
            "wrong-state",
            f"The campaign is {campaign['state']}: nothing of it is sent any more. Its unknown messages can only be "
            "resolved as accepted.",
        )
    await campaign_rows.require_active_pool(db, campaign["pool"])


def _note(who: Principal, campaign_id: int, message_ids: list[int], resolution: Resolution) -> None:
    """For whoever asks later who decided this; the rows have the reason."""
    get_logger().warning(
        "unknown_resolved", tenant_id=who.tenant_id, key_id=who.key_id, campaign_id=campaign_id,
        resolution=resolution.value, rows=len(message_ids), first_id=message_ids[0], last_id=message_ids[-1],
    )  # fmt: skip
