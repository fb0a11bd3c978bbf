"""One message: what is known of one recipient of one campaign, and how it came to that."""

from typing import Any

from fastapi import APIRouter

from services.api.access import Db, ReadCampaigns
from services.api.forms import Id
from services.api.problems import not_found
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/messages", tags=["messages"], route_class=TransactionRoute)


@router.get("/{message_id}", operation_id="getMessage")
async def get(db: Db, who: ReadCampaigns, message_id: Id) -> dict[str, Any]:
    """A message with its timeline: attempts with the server's replies, and events."""
    row = await db.fetchrow(
        "SELECT m.id, m.campaign_id, r.contact_id, r.wire AS recipient, m.state, m.attempt AS attempts, m.reason, "
        "m.next_attempt_at, m.changed_at FROM messages m JOIN recipients r ON r.message_id = m.id "
        "WHERE m.id = $1 AND m.tenant_id = $2",
        message_id,
        who.tenant_id,
    )
    if row is None:
        raise not_found("message")
    attempts = await db.fetch(
        "SELECT finished_at AS at, 'attempt' AS what, attempt, state, reason, phase, code, enhanced, reply, source_ip, "
        "mx, lane, tls, duration_ms FROM attempts WHERE message_id = $1 ORDER BY attempt",
        message_id,
    )
    events = await db.fetch(
        "SELECT occurred_at AS at, kind AS what, link, detail FROM events WHERE message_id = $1 ORDER BY id LIMIT 200",
        message_id,
    )
    timeline = sorted([dict(item) for item in (*attempts, *events)], key=lambda item: item["at"])
    return {**dict(row), "timeline": timeline}
