"""One message: what is known of one recipient of one campaign, and how it came to that."""

from typing import Any

from fastapi import APIRouter

from hayabin.domain.campaign import CampaignState
from hayabin.domain.message import WAITING
from services.api.access import Db, ReadCampaigns
from services.api.forms import Id
from services.api.problems import not_found
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/messages", tags=["messages"], route_class=TransactionRoute)


_MESSAGE_SQL = """
SELECT m.id, m.campaign_id, r.contact_id, r.wire AS recipient, m.state, m.attempt AS attempts, m.reason,
       m.next_attempt_at, m.changed_at, c.state AS campaign_state
FROM messages m JOIN recipients r ON r.message_id = m.id JOIN campaigns c ON c.id = m.campaign_id
WHERE m.id = $1 AND m.tenant_id = $2"""

_ATTEMPTS_SQL = """
SELECT a.finished_at AS at, 'attempt' AS what, a.attempt, a.state, a.reason, a.phase, a.code, a.enhanced, a.reply,
       a.source_ip, a.mx, a.address, a.lane, a.tls, a.tls_version, a.tls_policy, a.tls_result, a.duration_ms,
       string_to_array(t.lines, E'\\n') AS transcript
FROM attempts a LEFT JOIN transcripts t ON t.message_id = a.message_id AND t.attempt = a.attempt
WHERE a.message_id = $1 ORDER BY a.attempt"""


def _waiting(row: dict[str, Any]) -> dict[str, Any] | None:
    """Why a message waits and until when; None where it does not."""
    if row["state"] not in WAITING:
        return None
    if row["campaign_state"] == CampaignState.PAUSED:
        return {"reason": "campaign_paused", "until": None}
    return {"reason": row["reason"] or "in_line", "until": row["next_attempt_at"]}


@router.get("/{message_id}", operation_id="getMessage")
async def get(db: Db, who: ReadCampaigns, message_id: Id) -> dict[str, Any]:
    """A message with its timeline: attempts with the server's replies and what was said (`transcript`), and events.

    `waiting` says why a message waits and until when: after a deferral, for a lane that is suspended or over its limit
    or its day's cap, `campaign_paused`, or `in_line` while its turn has not come. A transcript has no content of the
    mail; it is null where none was kept, or not any more (by default they are dropped after 7 days).
    """
    found = await db.fetchrow(_MESSAGE_SQL, message_id, who.tenant_id)
    if found is None:
        raise not_found("message")
    row = dict(found)
    attempts = await db.fetch(_ATTEMPTS_SQL, message_id)
    events = await db.fetch(
        "SELECT occurred_at AS at, kind AS what, link, detail FROM events WHERE message_id = $1 ORDER BY id LIMIT 200",
        message_id,
    )
    timeline = sorted([dict(item) for item in (*attempts, *events)], key=lambda item: item["at"])
    waiting = _waiting(row)
    del row["campaign_state"]
    return {**row, "waiting": waiting, "timeline": timeline}
