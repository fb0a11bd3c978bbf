"""Segments: rules for contacts that are saved, counted and looked at.

Promises: rules are checked down to the last value; who sees personal data masked cannot ask for it by rules.
Fails: ``Problem`` 422 with a pointer to each place, 403 for rules about personal data, 409 while something uses it.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Body

from hayabin.database import segment_users, segments
from hayabin.domain.segment import Attribute, Comparison, Loaded, Op, Rule
from hayabin.domain.segment_rules import RulesInvalid, parse, walk
from services.api.access import Db, Principal, ReadContacts, Scope, WriteContacts, require_scope
from services.api.forms import Form, Id, Line, Name, changes_of
from services.api.masking import personal_names, shown
from services.api.paging import Cursor, Limit, after, page, page_of
from services.api.problems import Problem, not_found
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/segments", tags=["segments"], route_class=TransactionRoute)
Rules = dict[str, Any]
"""Looked at by ``_parsed``, down to the last value."""
SAMPLE = 20
_COLUMNS = "id, name, description, rules, created_at, updated_at"


class SegmentForm(Form):
    """A segment."""

    name: Name
    description: Line = ""
    rules: Rules


class SegmentChange(Form):
    """What may change of a segment; what is left out stays."""

    name: Name | None = None
    description: Line | None = None
    rules: Rules | None = None


class PreviewForm(Form):
    """Rules that are not saved (yet)."""

    rules: Rules


async def _parsed(db: Db, who: Principal, rules: dict[str, Any]) -> Rule:
    """The rules, each checked, and with all that they name.

    Raises:
        Problem: see the module.
    """
    try:
        rule = parse(rules, await segments.types_of(db, who.tenant_id))
    except RulesInvalid as invalid:
        errors = [{"pointer": error.pointer, "message": error.message} for error in invalid.errors]
        raise Problem(422, "invalid-rules", "The rules are no segment: see each place.", errors=errors) from invalid
    personal = await personal_names(db, who)
    if any(_asks(one, personal) for one in walk(rule)):
        require_scope(who, Scope.CONTACTS_READ_PERSONAL)
    missing = await segment_users.missing_in(db, who.tenant_id, rule)
    if missing:
        errors = [
            {"pointer": pointer, "message": f"there is no such {kind}"}
            for kind, row_id in sorted(missing)
            for pointer in segment_users.pointers_to(rules, kind, row_id)
        ]
        raise Problem(422, "invalid-rules", "The rules name what is not there.", errors=errors)
    return rule


def _asks(rule: Rule, personal: frozenset[str]) -> bool:
    """Whether it says more of one of these attributes than that it is there."""
    match rule:
        case Comparison(Attribute(name), _, op, _):
            return name in personal and op not in (Op.IS_SET, Op.IS_NOT_SET)
        case _:
            return False


@router.post("", status_code=201, operation_id="createSegment")
async def create(db: Db, who: WriteContacts, form: Annotated[SegmentForm, Body()]) -> dict[str, Any]:
    """Save rules under a name, which is unique; see the guide to segments for what rules may say."""
    await segments.load(db, who.tenant_id, await _parsed(db, who, form.rules))
    row = await db.fetchrow(
        f"INSERT INTO segments (tenant_id, name, description, rules) VALUES ($1, $2, $3, $4) RETURNING {_COLUMNS}",
        who.tenant_id,
        form.name,
        form.description,
        form.rules,
    )
    return dict(row or {})


@router.get("", operation_id="listSegments")
async def listed(db: Db, who: ReadContacts, limit: Limit = 100, cursor: Cursor = None) -> dict[str, Any]:
    """Segments in order of id."""
    return await page_of(db, who.tenant_id, f"SELECT {_COLUMNS} FROM segments WHERE tenant_id = $1", limit, cursor)


@router.post("/preview", operation_id="previewSegment")
async def preview(db: Db, who: ReadContacts, form: Annotated[PreviewForm, Body()]) -> dict[str, Any]:
    """Count who meets rules, and show the first 20 of them; nothing is saved.

    Rules that compare a personal attribute take `contacts:read_personal`.
    """
    loaded = await segments.load(db, who.tenant_id, await _parsed(db, who, form.rules))
    personal = await personal_names(db, who)
    count = await segments.count(db, who.tenant_id, loaded)
    sample = await segments.people(db, who.tenant_id, loaded, after_id=0, limit=SAMPLE) if count else []
    return {"count": count, "sample": [shown(row, who, personal) for row in sample]}


@router.get("/{segment_id}", operation_id="getSegment")
async def get(db: Db, who: ReadContacts, segment_id: Id) -> dict[str, Any]:
    """One segment, and who uses it: other segments, campaigns that are not sent yet."""
    row = await db.fetchrow(
        f"SELECT {_COLUMNS} FROM segments WHERE tenant_id = $1 AND id = $2", who.tenant_id, segment_id
    )
    if row is None:
        raise not_found("segment")
    users = await segment_users.users(db, who.tenant_id, segment_id)
    return {**row, "used_by": [dict(user) for user in users]}


@router.patch("/{segment_id}", operation_id="changeSegment")
async def change(db: Db, who: WriteContacts, segment_id: Id, form: SegmentChange) -> dict[str, Any]:
    """Change some of a segment; its rules not while a campaign that uses them is being put into the ledger."""
    changes_of(form)
    await _held(db, who, segment_id)
    if form.rules is not None:
        await _require_unused(await segment_users.filling(db, who.tenant_id, segment_id))
        await segments.load(db, who.tenant_id, await _parsed(db, who, form.rules), segment_id)
    row = await db.fetchrow(
        "UPDATE segments SET name = COALESCE($3, name), description = COALESCE($4, description), "
        f"rules = COALESCE($5, rules), updated_at = now() WHERE tenant_id = $1 AND id = $2 RETURNING {_COLUMNS}",
        who.tenant_id,
        segment_id,
        form.name,
        form.description,
        form.rules,
    )
    if form.rules is not None:
        await segment_users.require_naming_hold(db, who.tenant_id, segment_id)
    return dict(row or {})


@router.delete("/{segment_id}", status_code=204, operation_id="deleteSegment")
async def delete(db: Db, who: WriteContacts, segment_id: Id) -> None:
    """Delete a segment that nothing uses."""
    await _held(db, who, segment_id)
    await _require_unused(await segment_users.users(db, who.tenant_id, segment_id))
    await _require_unused(await segment_users.filling(db, who.tenant_id, segment_id))
    await db.execute("DELETE FROM segments WHERE tenant_id = $1 AND id = $2", who.tenant_id, segment_id)


@router.get("/{segment_id}/count", operation_id="countSegment")
async def counted(db: Db, who: ReadContacts, segment_id: Id) -> dict[str, int]:
    """How many contacts meet the rules now."""
    loaded = await _stored(db, who, segment_id)
    return {"segment_id": segment_id, "count": await segments.count(db, who.tenant_id, loaded)}


@router.get("/{segment_id}/contacts", operation_id="listSegmentContacts")
async def contacts(
    db: Db, who: ReadContacts, segment_id: Id, limit: Limit = 100, cursor: Cursor = None
) -> dict[str, Any]:
    """Contacts that meet the rules now, in order of id."""
    loaded = await _stored(db, who, segment_id)
    personal = await personal_names(db, who)
    found = await segments.people(db, who.tenant_id, loaded, after_id=after(cursor), limit=limit + 1)
    answer = page(found, limit, key="contact_id")
    return {**answer, "items": [shown(item, who, personal) for item in answer["items"]]}


async def _held(db: Db, who: Principal, segment_id: int) -> None:
    """Keep others from changing the tenant's segments, and launches from beginning to use this one; or 404."""
    await segments.lock(db, who.tenant_id)
    held = "SELECT id FROM segments WHERE tenant_id = $1 AND id = $2 FOR UPDATE"
    if not await db.fetchval(held, who.tenant_id, segment_id):
        raise not_found("segment")


async def _require_unused(users: Any) -> None:
    if users:
        names = ", ".join(f"{user['kind']} {user['id']} ({user['name']})" for user in users[:5])
        errors = [{"pointer": f"{user['kind']}:{user['id']}", "message": "uses it"} for user in users]
        raise Problem(409, "segment-in-use", f"It is used by {names}. Change those first.", errors=errors)


async def _stored(db: Db, who: Principal, segment_id: int) -> Loaded:
    try:
        return await segments.stored(db, who.tenant_id, segment_id)
    except segments.SegmentMissing as error:
        if not await db.fetchval("SELECT 1 FROM segments WHERE tenant_id = $1 AND id = $2", who.tenant_id, segment_id):
            raise not_found("segment") from error
        raise
