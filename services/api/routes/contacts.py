"""Contacts: one for each address of a tenant."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Response
from pydantic import AfterValidator, Field

from hayabin.database.contact_history import created_by_import
from services.api.access import Db, ReadContacts, Scope, WriteContacts, require_scope
from services.api.attribute_types import fitted
from services.api.forms import Attributes, Form, Id, Line, Moment, address_of, printable
from services.api.masking import personal_names, shown, shown_change
from services.api.paging import Cursor, Limit, after, page
from services.api.problems import Problem, not_found
from services.api.routes import contact_rows as rows
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/contacts", tags=["contacts"], route_class=TransactionRoute)

Locale = Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$")]
"""A language tag, such as ``ja`` or ``en-GB`` (RFC 5646)."""
Stage = Annotated[str, Field(max_length=100), AfterValidator(printable)]
"""Where somebody stands in the business with them (商談の段階); empty: nowhere."""
TimeZone = Annotated[str, Field(max_length=100), AfterValidator(printable)]
"""A name of the IANA database; empty: not known."""
Word = Annotated[str | None, Query(min_length=1, max_length=300)]

_DELETE_SQL = """
WITH gone AS (DELETE FROM contacts WHERE id = $1 AND tenant_id = $2 RETURNING id, tenant_id),
activity AS (DELETE FROM contact_activity a USING gone g WHERE a.tenant_id = g.tenant_id AND a.contact_id = g.id)
SELECT id FROM gone"""


class ContactForm(Form):
    """A contact; created, or updated where the address exists: what is left out stays, attributes are merged."""

    email: Line
    name: Line | None = None
    locale: Locale | None = None
    stage: Stage | None = None
    time_zone: TimeZone | None = None
    attributes: Attributes = {}


class ContactChange(Form):
    """What may change of a contact; attributes are merged, ``null`` removes one."""

    name: Line | None = None
    locale: Locale | None = None
    stage: Stage | None = None
    time_zone: TimeZone | None = None
    attributes: Attributes | None = None


@router.post("", status_code=201, operation_id="upsertContact", responses={200: {"description": "Updated"}})
async def upsert(
    db: Db, who: WriteContacts, response: Response, form: Annotated[ContactForm, Body()]
) -> dict[str, Any]:
    """Create a contact (201), or update the one that has this address (200).

    Attributes that are defined (`/v1/attributes`) must fit their definition, and are stored in its form; others are
    stored as they come. `flags` says what stands out about the address: `role` (a mailbox of a task), `disposable`.
    Whoever had their data erased is not entered again (409 `erased`).
    """
    address = address_of(form.email, "#/email")
    await rows.require_stage(db, who, form.stage)
    rows.require_time_zone(form.time_zone)
    row = await db.fetchrow(
        rows.UPSERT_SQL,
        who.tenant_id,
        address.given,
        address.wire,
        address.key,
        address.flags,
        form.name,
        form.locale,
        form.stage,
        form.time_zone,
        await fitted(db, who.tenant_id, form.attributes),
        rows.actor_of(who),
    )
    if row is None:
        raise Problem(409, "erased", "Whoever has this address had their data erased, and is not entered again.")
    await rows.keep_history_short(db, who, row)
    response.status_code = 201 if row["created"] else 200
    return shown(rows.settled(row), who, await personal_names(db, who))


@router.get("", operation_id="listContacts")
async def listed(
    db: Db,
    who: ReadContacts,
    limit: Limit = 100,
    cursor: Cursor = None,
    email: Annotated[str, Query(max_length=1000, description="The contact with this address")] = "",
    email_prefix: Annotated[str | None, Query(max_length=254, description="Addresses that begin so")] = None,
    stage: Word = None,
    created_after: Annotated[Moment | None, Query()] = None,
    list_id: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="Only who is subscribed to it")] = None,
    attribute: Annotated[str | None, Query(max_length=100, description="With `value`: only who has it so")] = None,
    value: Annotated[str | None, Query(max_length=1000)] = None,
) -> dict[str, Any]:
    """Contacts in order of id; with several conditions, those that meet all of them.

    `attribute` and `value` are compared as the attribute's definition says (of a list: it has the item), as texts where
    there is none. To search by `email_prefix` or by a personal attribute takes `contacts:read_personal`.
    """
    key = address_of(email, "query:email").key if email else None
    if email_prefix:
        require_scope(who, Scope.CONTACTS_READ_PERSONAL)
    found = await db.fetch(
        rows.LIST_SQL,
        who.tenant_id,
        after(cursor),
        limit + 1,
        key,
        storable(stage, "stage"),
        created_after,
        list_id,
        storable((email_prefix or "").lower() or None, "email_prefix"),
        *await rows.wanted_attribute(db, who, storable(attribute, "attribute"), storable(value, "value")),
    )
    personal = await personal_names(db, who)
    answer = page(found, limit)
    return {**answer, "items": [shown(item, who, personal) for item in answer["items"]]}


def storable(text: str | None, name: str) -> str | None:
    """A text of the query as the database takes it.

    Raises:
        Problem: 422.
    """
    if text is not None and "\x00" in text:
        errors = [{"pointer": f"query:{name}", "message": "must not have NUL"}]
        raise Problem(422, "invalid-request", "This cannot be looked for.", errors=errors)
    return text


@router.get("/{contact_id}", operation_id="getContact")
async def get(db: Db, who: ReadContacts, contact_id: Id) -> dict[str, Any]:
    """One contact."""
    row = await db.fetchrow(
        f"SELECT {rows.COLUMNS} FROM contacts WHERE id = $1 AND tenant_id = $2", contact_id, who.tenant_id
    )
    if row is None:
        raise not_found("contact")
    return shown(row, who, await personal_names(db, who))


@router.patch("/{contact_id}", operation_id="changeContact")
async def change(db: Db, who: WriteContacts, contact_id: Id, form: ContactChange) -> dict[str, Any]:
    """Change some of a contact."""
    await rows.require_stage(db, who, form.stage)
    rows.require_time_zone(form.time_zone)
    row = await db.fetchrow(
        rows.CHANGE_SQL,
        contact_id,
        who.tenant_id,
        form.name,
        form.locale,
        form.stage,
        form.time_zone,
        await fitted(db, who.tenant_id, form.attributes or {}),
        rows.actor_of(who),
    )
    if row is None:
        raise not_found("contact")
    await rows.keep_history_short(db, who, row)
    return shown(rows.settled(row), who, await personal_names(db, who))


@router.get("/{contact_id}/history", operation_id="listContactChanges")
async def history(
    db: Db, who: ReadContacts, contact_id: Id, limit: Limit = 100, cursor: Cursor = None
) -> dict[str, Any]:
    """What changed of a contact, oldest first: `source` says by which way, `actor` who did it, `field` what it was.

    `field` is `created`, a member of the contact, `attributes.` with a name, or `merged`. Values longer than 2,000
    characters are shown as their length; of very many changes the newest 500 are kept. That an import created the
    contact is told from when both happened: with `id` 0, and without an `actor` where several imports ran then.
    """
    if not await db.fetchval("SELECT true FROM contacts WHERE id = $1 AND tenant_id = $2", contact_id, who.tenant_id):
        raise not_found("contact")
    created = None if cursor else await created_by_import(db, who.tenant_id, contact_id)
    found = await db.fetch(
        "SELECT id, at, actor, source, field, old, new FROM contact_changes "
        "WHERE contact_id = $1 AND tenant_id = $2 AND id > $3 ORDER BY id LIMIT $4",
        contact_id,
        who.tenant_id,
        after(cursor),
        limit + 1,
    )
    personal = await personal_names(db, who)
    answer = page(found if created is None else [created, *found], limit)
    return {**answer, "items": [shown_change(item, who, personal) for item in answer["items"]]}


@router.delete("/{contact_id}", status_code=204, operation_id="deleteContact")
async def delete(db: Db, who: WriteContacts, contact_id: Id) -> None:
    """Delete a contact; what was sent to it stays in the ledger."""
    if not await db.fetchval(_DELETE_SQL, contact_id, who.tenant_id):
        raise not_found("contact")
