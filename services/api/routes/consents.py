"""The consent ledger: what people agreed to, when, and how we know; rows are added and never changed.

Promises: what is recorded here moves the subscription in the same transaction. Nobody who left by their own act is
subscribed again on the word of somebody else. An export is written into the audit log.
"""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Self

from fastapi import APIRouter, Body, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, Field, model_validator

from hayabin.database import consent, subscriptions, suppressing
from hayabin.database.consent import Evidence
from hayabin.domain.consent import ConsentAction, SubscriptionState
from hayabin.domain.suppression import SuppressionReason
from services.api.access import Db, Principal, ReadConsents, WriteContacts
from services.api.audit_trail import tell
from services.api.consent_form import ConsentForm
from services.api.consent_rows import Which, head, lines_of, rows_of, shown_consent
from services.api.download import as_attachment, reading_as
from services.api.file_kind import FileKind
from services.api.forms import Reference, address_of
from services.api.paging import Cursor, Limit, after, page
from services.api.problems import Problem, not_found
from services.api.routes.lists import require_list
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/consents", tags=["consents"], route_class=TransactionRoute)
EXPORT_PAGE_ROWS = 2000
ALL_LISTS = suppressing.ALL_LISTS

ContactId = Annotated[int | None, Query(ge=1, le=2**63 - 1, description="Of this contact")]
Email = Annotated[
    str | None, Query(min_length=1, max_length=300, description="Of this address, and of whoever has it now")
]
ListId = Annotated[int | None, Query(ge=0, le=2**63 - 1, description="On this list; 0: on every mail at once")]
Action = Annotated[ConsentAction | None, Query(description="What was done")]
Since = Annotated[AwareDatetime | None, Query(description="Done then or later")]
Until = Annotated[AwareDatetime | None, Query(description="Done before")]


class RecordForm(ConsentForm):
    """What a person did about their consent, and how we know."""

    contact_id: Reference
    list_id: Annotated[int, Field(ge=0, le=2**63 - 1, description="0: every mail; for opt_out and change")]
    action: Annotated[ConsentAction, Field(strict=False)]

    @model_validator(mode="after")
    def _require_sense(self) -> Self:
        if self.list_id == ALL_LISTS and self.action in (ConsentAction.OPT_IN, ConsentAction.CONFIRM):
            raise ValueError("nobody agrees to every list at once: name one")
        if self.action is ConsentAction.CONFIRM and not self.note.strip():
            raise ValueError("say in `note` how they confirmed it themselves")
        return self


def _which(
    contact_id: int | None, email: str | None, list_id: int | None, action: ConsentAction | None, period: Any
) -> Which:
    key = None if email is None else address_of(email, "query:email").key
    since, until = period
    return Which(contact_id=contact_id, address_key=key, list_id=list_id, action=action, since=since, until=until)


@router.get("", operation_id="listConsents")
async def listed(
    db: Db,
    who: ReadConsents,
    contact_id: ContactId = None,
    email: Email = None,
    list_id: ListId = None,
    action: Action = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """Rows of the ledger, oldest first; of who was erased, `erased` is true and `email` null."""
    which = _which(contact_id, email, list_id, action, (since, until))
    rows = await rows_of(db, who.tenant_id, which, after(cursor), limit + 1)
    return page([shown_consent(row, who) for row in rows], limit)


@router.get("/export", operation_id="exportConsents", response_class=StreamingResponse)
async def export(
    request: Request,
    who: ReadConsents,
    file: FileKind = FileKind.CSV,
    contact_id: ContactId = None,
    email: Email = None,
    list_id: ListId = None,
    action: Action = None,
    since: Since = None,
    until: Until = None,
) -> StreamingResponse:
    """The ledger of a person or a period as a file (CSV in UTF-8, or NDJSON); that it was taken out is written down."""
    which = _which(contact_id, email, list_id, action, (since, until))
    tell(request, file=file.value, filtered=sorted(request.query_params.keys()))
    return StreamingResponse(
        _file(request, who, file, which), media_type=file.media_type, headers=as_attachment(f"consents.{file}")
    )


async def _file(request: Request, who: Principal, file: FileKind, which: Which) -> AsyncIterator[str]:
    yield head(file)
    place = 0
    while True:
        async with reading_as(request, who.tenant_id) as connection:
            rows = await rows_of(connection, who.tenant_id, which, place, EXPORT_PAGE_ROWS)
        if not rows:
            return
        yield lines_of(file, [shown_consent(row, who) for row in rows])
        place = rows[-1]["id"]


@router.post("", status_code=201, operation_id="recordConsent")
async def record(db: Db, who: WriteContacts, form: Annotated[RecordForm, Body()]) -> dict[str, Any]:
    """Record what a contact did on paper, by mail or by telephone, and move their subscription.

    `opt_in` and `confirm` subscribe, `opt_out` unsubscribes (`list_id` 0: from every mail), `change` moves nothing. Who
    unsubscribed, complained or bounced is subscribed by `confirm` alone, which says in `note` how they did it
    themselves; `opt_in` is refused then (409 `opted-out`).
    """
    key = await db.fetchval(
        "SELECT address_key FROM contacts WHERE id = $1 AND tenant_id = $2", form.contact_id, who.tenant_id
    )
    if key is None:
        raise not_found("contact")
    if form.list_id != ALL_LISTS:
        await require_list(db, who, form.list_id)
    evidence = form.evidence(who, form.action)
    moved = await _move(db, who, form, key, evidence)
    await consent.record(db, who.tenant_id, form.list_id, [form.contact_id], evidence)
    state = await db.fetchval(
        "SELECT state FROM list_members WHERE list_id = $1 AND contact_id = $2", form.list_id, form.contact_id
    )
    return {"contact_id": form.contact_id, "list_id": form.list_id, "moved": moved, "state": state}


async def _move(db: Db, who: Principal, form: RecordForm, key: str, evidence: Evidence) -> bool:
    match form.action:
        case ConsentAction.CHANGE:
            return False
        case ConsentAction.OPT_IN | ConsentAction.CONFIRM:
            to = SubscriptionState.SUBSCRIBED
        case ConsentAction.OPT_OUT:
            to = SubscriptionState.UNSUBSCRIBED
    if form.list_id == ALL_LISTS:
        moved = await subscriptions.move_everywhere(db, [(who.tenant_id, key, evidence.source)], to, form.action)
    else:
        ids = [form.contact_id]
        moved = len(await subscriptions.move(db, who.tenant_id, form.list_id, ids, to, evidence, in_ledger=False))
        await _require_not_refused(db, form, moved=bool(moved))
    if form.action is ConsentAction.OPT_OUT:
        reason = SuppressionReason.UNSUBSCRIBE
        await suppressing.suppress_for_good(db, who.tenant_id, key, form.list_id, reason, evidence.source)
    return bool(moved)


async def _require_not_refused(db: Db, form: RecordForm, *, moved: bool) -> None:
    """Pass silently unless an opt-in met somebody who had left by themselves.

    Raises:
        Problem: 409; the transaction is rolled back.
    """
    if moved or form.action is not ConsentAction.OPT_IN:
        return
    state = await db.fetchval(
        "SELECT state FROM list_members WHERE list_id = $1 AND contact_id = $2", form.list_id, form.contact_id
    )
    if state != SubscriptionState.SUBSCRIBED:
        raise Problem(409, "opted-out", f"The contact is {state} there: they come back by an act of their own alone.")
