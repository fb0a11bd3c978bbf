"""Who is on a list, how they came there, and where one person stands everywhere."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Query
from pydantic import Field

from hayabin.database import subscriptions
from hayabin.database.consent import Evidence
from hayabin.domain.consent import ConsentAction, ConsentBasis, SubscriptionState
from services.api.access import Db, ReadContacts, WriteContacts
from services.api.consent_form import ConsentForm, require_consent, source_of
from services.api.forms import Form, Id, Reference
from services.api.masking import shown
from services.api.paging import Cursor, Limit, after, page
from services.api.problems import not_found
from services.api.routes.lists import require_list
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1", tags=["lists"], route_class=TransactionRoute)
HISTORY_MAX = 500

_STANDING_SQL = """
SELECT lm.list_id, l.name AS list, lm.state, lm.consent, lm.updated_at
FROM list_members lm JOIN lists l ON l.id = lm.list_id
WHERE lm.contact_id = $1 AND l.tenant_id = $2 ORDER BY lm.list_id"""

_HISTORY_SQL = """
SELECT h.list_id, h.was, h.state, h.action, h.source, h.changed_at FROM subscription_changes h
WHERE h.contact_id = $1 AND h.tenant_id = $2 ORDER BY h.id DESC LIMIT $3"""


class MembersForm(Form):
    """Contacts to subscribe, and how we know that they want it."""

    contact_ids: Annotated[list[Reference], Field(min_length=1, max_length=1000)]
    state: Annotated[
        Literal["subscribed", "pending"], Field(description="`pending`: asked for, not confirmed; gets no mail")
    ] = "subscribed"
    consent: ConsentForm | None = None


@router.get("/lists/{list_id}/members", operation_id="listMembers")
async def members(
    db: Db,
    who: ReadContacts,
    list_id: Id,
    state: Annotated[SubscriptionState | None, Query(description="Only who stands there")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """Who is or was on a list, in order of contact id; `consent` is the basis of what brought them there."""
    await require_list(db, who, list_id)
    rows = await db.fetch(
        # the page first: joined before, all contacts up to the cursor would be read
        "SELECT m.contact_id, c.address AS email, c.name, m.state, m.consent, m.updated_at FROM ("
        "  SELECT contact_id, state, consent, updated_at FROM list_members WHERE list_id = $1 AND contact_id > $2 "
        "  AND ($4::text IS NULL OR state = $4) ORDER BY contact_id LIMIT $3) m "
        "JOIN contacts c ON c.id = m.contact_id ORDER BY m.contact_id",
        list_id,
        after(cursor),
        limit + 1,
        state,
    )
    return page([shown(row, who, frozenset()) for row in rows], limit, key="contact_id")


@router.post("/lists/{list_id}/members", operation_id="addMembers")
async def add(db: Db, who: WriteContacts, list_id: Id, form: Annotated[MembersForm, Body()]) -> dict[str, int]:
    """Subscribe contacts; `added` counts who was not before.

    Who has unsubscribed, complained or bounced stays so: they are subscribed again by an act of their own alone (a
    sign-up form, or `recordConsent` with `confirm`). Tenants whose settings say `consent_policy: required` need
    `consent`.
    """
    await require_list(db, who, list_id)
    await require_consent(db, who, form.consent)
    if form.consent is None:
        evidence = Evidence(action=ConsentAction.OPT_IN, basis=ConsentBasis.UNSPECIFIED, source=source_of(who))
    else:
        evidence = form.consent.evidence(who, ConsentAction.OPT_IN)
    moved = await subscriptions.move(
        db, who.tenant_id, list_id, form.contact_ids, SubscriptionState(form.state), evidence
    )
    return {"added": len(moved)}


@router.delete("/lists/{list_id}/members/{contact_id}", status_code=204, operation_id="removeMember")
async def remove(db: Db, who: WriteContacts, list_id: Id, contact_id: Id) -> None:
    """Take a contact off a list; the history keeps that they were on it.

    Who has unsubscribed, complained or bounced stays there with that state, so that nobody subscribes them again.
    """
    await require_list(db, who, list_id)
    if not await db.fetchval(
        "SELECT true FROM list_members WHERE list_id = $1 AND contact_id = $2", list_id, contact_id
    ):
        raise not_found("member")
    await subscriptions.take_off(db, who.tenant_id, list_id, contact_id, source_of(who))


@router.get("/contacts/{contact_id}/subscriptions", operation_id="listSubscriptions")
async def standing(db: Db, who: ReadContacts, contact_id: Id) -> dict[str, Any]:
    """Where a contact stands with each list, and how they came there.

    Of the history there are the last 500 changes, newest first; `was` is null for who was not on the list, and `state`
    for who was taken off it.
    """
    if not await db.fetchval("SELECT id FROM contacts WHERE id = $1 AND tenant_id = $2", contact_id, who.tenant_id):
        raise not_found("contact")
    subscribed = await db.fetch(_STANDING_SQL, contact_id, who.tenant_id)
    history = await db.fetch(_HISTORY_SQL, contact_id, who.tenant_id, HISTORY_MAX)
    return {
        "contact_id": contact_id,
        "subscriptions": [dict(row) for row in subscribed],
        "history": [dict(row) for row in history],
    }
