"""Messages: what is known of one recipient of one campaign, how it came to that, and what a person decides of it."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query

from hayabin.domain.campaign import CampaignState
from hayabin.domain.message import WAITING, MessageState
from services.api.access import Db, Principal, ReadCampaigns, Scope, SendCampaigns
from services.api.forms import Id
from services.api.masking import personal_names, shown, texts_in, without_words
from services.api.paging import Cursor, Limit
from services.api.problems import Problem, not_found
from services.api.routes import campaign_rows
from services.api.routes import message_rows as rows
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


CampaignId = Annotated[int | None, Query(ge=1, le=2**63 - 1, description="Only messages of this campaign")]


@router.get("", operation_id="listMessages")
async def listed(
    db: Db,
    who: ReadCampaigns,
    limit: Limit = 100,
    cursor: Cursor = None,
    state: Annotated[MessageState | None, Query(description="Only messages in this state")] = None,
    campaign_id: CampaignId = None,
) -> dict[str, Any]:
    """Messages in a state, of a campaign, or both, in order of campaign and id; such as all that are `unknown`.

    Give `state` or `campaign_id`. A page may have fewer than `limit` messages, even none, and still a `next_cursor`: it
    was cut short because large campaigns had to be read.
    """
    if state is None and campaign_id is None:
        errors = [{"pointer": "query:state", "message": "give a state, a campaign_id, or both"}]
        raise Problem(422, "invalid-request", "This would be a list of everything.", errors=errors)
    if campaign_id is not None:
        await campaign_rows.require_campaign(db, who, campaign_id)
    answer = await rows.page_of(db, who, rows.Wanted(state, campaign_id, limit), cursor)
    return {**answer, "items": [shown(item, who, frozenset()) for item in answer["items"]]}


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
    mail; it is null where none was kept, or not any more (by default they are dropped after 7 days). Without
    `contacts:read_personal` the recipient is masked, in replies and transcripts too.
    """
    return await _shown(db, who, message_id)


@router.post("/{message_id}/resolve", operation_id="resolveMessage")
async def resolve(db: Db, who: SendCampaigns, message_id: Id, form: rows.ResolveForm) -> dict[str, Any]:
    """Settle an `unknown` message: `accepted`, or `resend`: it is due now, and its recipient may get it twice.

    A completed campaign is `sending` again until the message is through; in a paused one it waits. In a cancelled
    campaign only `accepted` is possible. `send_by` and suppressions hold as for any mail.
    """
    await rows.resolve_one(db, who, message_id, form.resolution)
    return await _shown(db, who, message_id)


async def _shown(db: Db, who: Principal, message_id: int) -> dict[str, Any]:
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
    if not who.may(Scope.CONTACTS_READ_PERSONAL):
        timeline = without_words(timeline, await _personal_words(db, who, row))
    return {**shown(row, who, frozenset()), "waiting": waiting, "timeline": timeline}


async def _personal_words(db: Db, who: Principal, row: dict[str, Any]) -> list[str]:
    """What in a server's words, a link or a note could tell who the recipient is."""
    found = await db.fetchrow(
        "SELECT name, variables FROM recipients WHERE message_id = $1 AND tenant_id = $2", row["id"], who.tenant_id
    )
    local = row["recipient"].rpartition("@")[0]
    words = [row["recipient"], local, local.strip('"')]
    if found is not None:
        words += [found["name"], *(part for part in found["name"].split() if len(part) > 1)]
        personal = await personal_names(db, who)
        values = orjson.loads(found["variables"])
        words += [word for name in personal for word in texts_in(values.get(name)) if len(word) > 1]
    return words
