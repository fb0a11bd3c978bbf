"""Contacts: one for each address of a tenant."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Response
from pydantic import Field

from services.api.access import Db, ReadContacts, WriteContacts
from services.api.forms import Attributes, Form, Id, Line, address_of
from services.api.paging import Cursor, Limit, after, page
from services.api.problems import not_found
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/contacts", tags=["contacts"], route_class=TransactionRoute)
_COLUMNS = "id, address AS email, name, locale, attributes, created_at, updated_at"


Locale = Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$")]
"""A language tag, such as ``ja`` or ``en-GB`` (RFC 5646)."""


class ContactForm(Form):
    """A contact; created, or updated where the address exists: what is left out stays, attributes are merged."""

    email: Line
    name: Line | None = None
    locale: Locale | None = None
    attributes: Attributes = {}


class ContactChange(Form):
    """What may change of a contact; attributes are merged, ``null`` removes one."""

    name: Line | None = None
    locale: Locale | None = None
    attributes: Attributes | None = None


@router.post("", status_code=201, operation_id="upsertContact")
async def upsert(
    db: Db, who: WriteContacts, response: Response, form: Annotated[ContactForm, Body()]
) -> dict[str, Any]:
    """Create a contact (201), or update the one that has this address (200)."""
    address = address_of(form.email, "#/email")
    row = await db.fetchrow(
        f"""
        INSERT INTO contacts (tenant_id, address, wire, address_key, name, locale, attributes)
        VALUES ($1, $2, $3, $4, COALESCE($5, ''), COALESCE($6, 'ja'), $7)
        ON CONFLICT (tenant_id, address_key) DO UPDATE SET address = excluded.address, wire = excluded.wire,
            name = COALESCE($5, contacts.name), locale = COALESCE($6, contacts.locale),
            attributes = jsonb_strip_nulls(contacts.attributes || excluded.attributes), updated_at = now()
        RETURNING {_COLUMNS}, xmax = 0 AS created""",
        who.tenant_id,
        address.given,
        address.wire,
        address.key,
        form.name,
        form.locale,
        form.attributes,
    )
    contact = dict(row or {})
    response.status_code = 201 if contact.pop("created") else 200
    return contact


@router.get("", operation_id="listContacts")
async def listed(
    db: Db, who: ReadContacts, limit: Limit = 100, cursor: Cursor = None, email: str = ""
) -> dict[str, Any]:
    """Contacts in order of id, or the one with an address."""
    key = address_of(email, "query:email").key if email else None
    rows = await db.fetch(
        f"SELECT {_COLUMNS} FROM contacts WHERE tenant_id = $1 AND id > $2 AND ($4::text IS NULL OR address_key = $4) "
        "ORDER BY id LIMIT $3",
        who.tenant_id,
        after(cursor),
        limit + 1,
        key,
    )
    return page(rows, limit)


@router.get("/{contact_id}", operation_id="getContact")
async def get(db: Db, who: ReadContacts, contact_id: Id) -> dict[str, Any]:
    """One contact."""
    row = await db.fetchrow(
        f"SELECT {_COLUMNS} FROM contacts WHERE id = $1 AND tenant_id = $2", contact_id, who.tenant_id
    )
    if row is None:
        raise not_found("contact")
    return dict(row)


@router.patch("/{contact_id}", operation_id="changeContact")
async def change(db: Db, who: WriteContacts, contact_id: Id, form: ContactChange) -> dict[str, Any]:
    """Change some of a contact."""
    row = await db.fetchrow(
        f"""
        UPDATE contacts SET name = COALESCE($3, name), locale = COALESCE($4, locale),
            attributes = jsonb_strip_nulls(attributes || COALESCE($5, '{{}}'::jsonb)), updated_at = now()
        WHERE id = $1 AND tenant_id = $2 RETURNING {_COLUMNS}""",
        contact_id,
        who.tenant_id,
        form.name,
        form.locale,
        form.attributes,
    )
    if row is None:
        raise not_found("contact")
    return dict(row)


@router.delete("/{contact_id}", status_code=204, operation_id="deleteContact")
async def delete(db: Db, who: WriteContacts, contact_id: Id) -> None:
    """Delete a contact; what was sent to it stays in the ledger."""
    if not await db.fetchval(
        "DELETE FROM contacts WHERE id = $1 AND tenant_id = $2 RETURNING id", contact_id, who.tenant_id
    ):
        raise not_found("contact")
