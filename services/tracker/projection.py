"""Opens and clicks into Postgres: one statement for any number of events.

Promises: an event counts once, however often it arrives; first opens and clicks of a message are counted apart from the
total, and the last ones of a contact are kept for segments; a message that was ``unknown`` and is opened or clicked
becomes ``accepted``. Of a person who was erased since, the browser is not kept. An event of a message that the ledger
does not have (any more) changes nothing.
Fails: ``PoisonMessage`` for a batch that holds anything but opens and clicks; database errors as they are, and nothing
was changed then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

from hayabin.contracts.codec import decode
from hayabin.contracts.event_pb2 import ENGAGEMENT_KIND_CLICK, ENGAGEMENT_KIND_OPEN, Event, EventBatch
from hayabin.database import ledger
from hayabin.database.engine import Connection
from hayabin.database.erasing import anonymous_sql
from hayabin.domain.errors import PoisonMessage
from hayabin.domain.message import MessageState

DETAIL_MAX_CHARS: Final = 200
EVENT_ID_BYTES: Final = 16
_BIGINT_MAX: Final = 2**63 - 1
_LINK_MAX: Final = 2**31 - 1
_KINDS: Final = {ENGAGEMENT_KIND_OPEN: "open", ENGAGEMENT_KIND_CLICK: "click"}

_PROJECT_SQL = f"""
WITH given AS (
    SELECT g.event_id, g.message_id, g.kind, g.link, g.occurred_at, m.tenant_id, m.campaign_id, m.state,
           CASE WHEN {anonymous_sql("m.address_key")} THEN '' ELSE g.user_agent END AS detail
    FROM unnest($1::bytea[], $2::bigint[], $3::text[], $4::int[], $5::text[], $6::timestamptz[])
         AS g(event_id, message_id, kind, link, user_agent, occurred_at)
    JOIN messages m ON m.id = g.message_id),
fresh AS (
    INSERT INTO events (event_id, tenant_id, campaign_id, message_id, kind, link, detail, occurred_at)
    SELECT event_id, tenant_id, campaign_id, message_id, kind, link, detail, occurred_at FROM given ORDER BY event_id
    ON CONFLICT (event_id) DO NOTHING
    RETURNING tenant_id, campaign_id, message_id, kind, occurred_at),
first_ones AS (
    INSERT INTO engagements (message_id, kind, first_at)
    SELECT message_id, kind, min(occurred_at) FROM fresh GROUP BY message_id, kind ORDER BY message_id, kind
    ON CONFLICT (message_id, kind) DO NOTHING
    RETURNING message_id, kind),
active AS (
    INSERT INTO contact_activity AS a (tenant_id, contact_id, last_opened_at, last_clicked_at)
    SELECT f.tenant_id, r.contact_id, max(f.occurred_at) FILTER (WHERE f.kind = 'open'),
           max(f.occurred_at) FILTER (WHERE f.kind = 'click')
    FROM fresh f JOIN recipients r ON r.message_id = f.message_id
    WHERE r.contact_id > 0 GROUP BY f.tenant_id, r.contact_id ORDER BY f.tenant_id, r.contact_id
    ON CONFLICT (tenant_id, contact_id) DO UPDATE
        SET last_opened_at = greatest(a.last_opened_at, excluded.last_opened_at),
            last_clicked_at = greatest(a.last_clicked_at, excluded.last_clicked_at)),
tally AS (
    SELECT campaign_id, CASE kind WHEN 'open' THEN 'opens' ELSE 'clicks' END AS name, count(*) AS n
    FROM fresh GROUP BY 1, 2
    UNION ALL
    SELECT f.campaign_id, CASE o.kind WHEN 'open' THEN 'opened' ELSE 'clicked' END, count(*)
    FROM first_ones o JOIN (SELECT DISTINCT message_id, campaign_id FROM fresh) f ON f.message_id = o.message_id
    GROUP BY 1, 2),
counted AS (INSERT INTO counter_deltas (campaign_id, name, n) SELECT campaign_id, name, n FROM tally)
SELECT (SELECT count(*) FROM fresh) AS fresh,
       COALESCE((SELECT array_agg(DISTINCT message_id) FROM given WHERE state = 'unknown'), '{{}}') AS unknown,
       COALESCE((SELECT array_agg(DISTINCT traceparent) FROM campaigns
                 WHERE id IN (SELECT campaign_id FROM fresh) AND traceparent <> ''), '{{}}') AS traceparents"""  # noqa: S608 - an expression of ours

_STILL_UNKNOWN_SQL = "SELECT id FROM messages WHERE id = ANY($1) AND state = 'unknown' ORDER BY id FOR UPDATE"


class Fact(NamedTuple):
    """One open or click, with every value as its column wants it."""

    event_id: bytes
    message_id: int
    kind: str
    link: int | None
    user_agent: str
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class Projected:
    """What a projection did; ``traceparents`` are those of the launches that the events go back to."""

    fresh: int
    resolved: int
    traceparents: tuple[str, ...]


def read_facts(body: bytes) -> list[Fact]:
    """The facts of a batch from the belt.

    Raises:
        PoisonMessage: it is no batch, or an event in it is no open or click of ours.
    """
    return [_fact(event) for event in decode(EventBatch, body).events]


def _fact(event: Event) -> Fact:
    engagement, event_id = event.engagement, event.event_id
    message_id, link, user_agent = engagement.message_id, engagement.link, engagement.user_agent[:DETAIL_MAX_CHARS]
    kind = _KINDS.get(engagement.kind)
    if kind is None:  # of another fact, it is the kind that stands for none
        raise PoisonMessage("unexpected_fact", f"{event.WhichOneof('fact')} {engagement.kind}")
    if len(event_id) != EVENT_ID_BYTES or message_id > _BIGINT_MAX or link > _LINK_MAX:
        raise PoisonMessage("out_of_range", f"message {message_id} link {link}")
    try:
        occurred_at = datetime.fromtimestamp(event.occurred_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise PoisonMessage("out_of_range", f"occurred_ms {event.occurred_ms}") from error
    if not user_agent.isprintable():
        user_agent = "".join(c for c in user_agent if c.isprintable())
    return Fact(event_id, message_id, kind, link if kind == "click" else None, user_agent, occurred_at)


async def project(connection: Connection, facts: Sequence[Fact]) -> Projected:
    """Write facts, within the caller's transaction."""
    row = await connection.fetchrow(
        _PROJECT_SQL,
        [fact.event_id for fact in facts],
        [fact.message_id for fact in facts],
        [fact.kind for fact in facts],
        [fact.link for fact in facts],
        [fact.user_agent for fact in facts],
        [fact.occurred_at for fact in facts],
    )
    if row is None:  # a SELECT without FROM always has one
        return Projected(0, 0, ())
    resolved = await _resolve(connection, row["unknown"]) if row["unknown"] else 0
    return Projected(row["fresh"], resolved, tuple(row["traceparents"]))


async def _resolve(connection: Connection, message_ids: Sequence[int]) -> int:
    """Only what is still unknown: a row that is claimed has its outcome on the way."""
    rows = await connection.fetch(_STILL_UNKNOWN_SQL, message_ids)
    return len(await ledger.move(connection, [row["id"] for row in rows], MessageState.ACCEPTED, "engaged"))
