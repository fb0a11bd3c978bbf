"""Contacts: one for each address of a tenant."""

from typing import Annotated, Any

from fastapi import APIRouter, Body

from services.api.access import Db, ReadContacts, WriteContacts
from services.api.forms import Attributes, Form, Id, Line, address_of
from services.api.paging import Cursor, Limit, after, page
from services.api.problems import not_found
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/contacts", tags=["contacts"], route_class=TransactionRoute)
_COLUMNS = "id, address AS email, name, locale, attributes, created_at, updated_at"


class ContactForm(Form):
    """A contact; created, or updated where the address exists."""

    email: Line
    name: Line = ""
    locale: Line = "ja"
    attributes: Attributes = {}


class ContactChange(Form):
    """What may change of a contact; attributes are merged, ``null`` removes one."""

    name: Line | None = None
    locale: Line | None = None
    attributes: Attributes | None = None


@router.post("", status_code=201, operation_id="upsertContact")
async def upsert(
    db: Db,
    who: WriteContacts,
    form: Annotated[
        ContactForm,
        Body(examples=[{"email": "a..b@docomo.ne.jp", "name": "田中 花子", "attributes": {"company": "サンプル商事"}}]),
    ],
) -> dict[str, Any]:
    """Create a contact, or update the one that has this address."""
    address = address_of(form.email, "#/email")
    row = await db.fetchrow(
        f"""
        INSERT INTO contacts (tenant_id, address, wire, address_key, name, locale, attributes)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (tenant_id, address_key) DO UPDATE SET address = excluded.address, wire = excluded.wire,
            name = excluded.name, locale = excluded.locale, attributes = contacts.attributes || excluded.attributes,
            updated_at = now()
        RETURNING {_COLUMNS}""",
        who.tenant_id,
        address.given,
        address.wire,
        address.key,
        form.name,
        form.locale,
        form.attributes,
    )
    return dict(row or {})


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
