"""Attributes of contacts: which there are, of what type, within which limits, and which are personal."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path
from pydantic import AfterValidator, Field

from hayabin.domain import attribute
from services.api.access import Db, Principal, ReadContacts, Scope, WriteContacts, require_scope
from services.api.attribute_fit import one_at_a_time, require_fit
from services.api.attribute_types import AttributeType, Definition, ValueInvalid, definition_of, typed
from services.api.forms import Form, printable
from services.api.problems import Problem, not_found
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/attributes", tags=["attributes"], route_class=TransactionRoute)
MAX_DEFINITIONS = 100
RESERVED = frozenset({"email", "name", "locale", "stage", "time_zone", "flags"})
_COLUMNS = (
    "name, type, personal, max_chars, max_items, minimum, maximum, allowed, label_ja, label_en, created_at, updated_at"
)
_LIMITED = frozenset({AttributeType.NUMBER, AttributeType.DATE, AttributeType.DATETIME})
_TEXTUAL = frozenset({AttributeType.STRING, AttributeType.LIST})


def _name(value: str) -> str:
    if value in RESERVED or value.startswith("_hb") or "/" in value or value != value.strip() or value in (".", ".."):
        raise ValueError(
            "a name has no / and no white space around it, is no member of a contact and begins not by _hb"
        )
    return printable(value)


AttributeName = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_name)]
NameInPath = Annotated[str, Path(max_length=100)]
Label = Annotated[str, Field(max_length=200), AfterValidator(printable)]
Kind = Annotated[AttributeType, Field(strict=False)]
MaxChars = Annotated[int, Field(ge=1, le=attribute.MAX_CHARS)]
MaxItems = Annotated[int, Field(ge=1, le=attribute.MAX_ITEMS)]
Allowed = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=300), AfterValidator(printable)]], Field(max_length=200)
]
Bound = Annotated[int | float | str | None, Field()]


class AttributeForm(Form):
    """An attribute; limits that its type does not know are refused."""

    name: AttributeName
    type: Kind
    personal: bool = False
    max_chars: MaxChars = 1000
    max_items: MaxItems = 100
    minimum: Bound = None
    maximum: Bound = None
    allowed: Allowed = []
    label_ja: Label = ""
    label_en: Label = ""


class AttributeChange(Form):
    """What may change of an attribute; its name does not. ``null`` takes a limit away."""

    type: Kind | None = None
    personal: bool | None = None
    max_chars: MaxChars | None = None
    max_items: MaxItems | None = None
    minimum: Bound = None
    maximum: Bound = None
    allowed: Allowed | None = None
    label_ja: Label | None = None
    label_en: Label | None = None


def _checked(definition: Definition) -> Definition:
    """The definition with its limits in the form of its values.

    Raises:
        Problem: 422 for limits that the type does not know, or that leave nothing.
    """
    errors: list[dict[str, Any]] = []
    bare = replace(definition, minimum=None, maximum=None)
    bounds: dict[str, Any] = {}
    for name in ("minimum", "maximum"):
        bound = getattr(definition, name)
        try:
            if bound is not None and definition.type not in _LIMITED:
                errors.append({"pointer": f"#/{name}", "message": "numbers, dates and datetimes have one"})
            bounds[name] = None if bound is None or definition.type not in _LIMITED else typed(bare, bound)
        except ValueInvalid as error:
            errors.append({"pointer": f"#/{name}", "message": str(error)})
    if definition.allowed and definition.type not in _TEXTUAL:
        errors.append({"pointer": "#/allowed", "message": "strings and lists have such values"})
    if not errors and None not in bounds.values() and bounds["minimum"] > bounds["maximum"]:
        errors.append({"pointer": "#/maximum", "message": "less than the minimum"})
    if any(len(value) > definition.max_chars for value in definition.allowed):
        errors.append({"pointer": "#/allowed", "message": "a value that is longer than max_chars"})
    if errors:
        raise Problem(422, "invalid-request", "The limits do not go with the type.", errors=errors)
    return replace(bare, **bounds)


async def _require(db: Db, who: Principal, name: str, *, lock: bool = False) -> dict[str, Any]:
    found = None
    if "\x00" not in name:
        found = await db.fetchrow(
            f"SELECT {_COLUMNS} FROM attribute_definitions WHERE tenant_id = $1 AND name = $2"
            + (" FOR UPDATE" if lock else ""),
            who.tenant_id,
            name,
        )
    if found is None:
        raise not_found("attribute")
    return dict(found)


@router.post("", status_code=201, operation_id="createAttribute")
async def create(db: Db, who: WriteContacts, form: Annotated[AttributeForm, Body()]) -> dict[str, Any]:
    """Define an attribute; at most 100. Values that contacts have of that name must fit (409 says how many do not).

    Types: `string`, `number`, `boolean`, `date` (`2026-11-24`), `datetime` (`2026-11-24T00:00:00Z`), `list` (texts).
    Texts stand for values as in an import: `１，２３４`, `2026/11/24`, `2026年11月24日`, `はい`, `a;b` or `a、b`.
    `personal`: masked for keys without `contacts:read_personal`, wherever it is shown.
    """
    # one at a time, or two requests might both find room for one more
    await one_at_a_time(db, who.tenant_id)
    names = await db.fetch("SELECT name FROM attribute_definitions WHERE tenant_id = $1", who.tenant_id)
    if form.name in {row["name"] for row in names}:
        raise Problem(409, "name-taken", "There is an attribute of this name.")
    if len(names) >= MAX_DEFINITIONS:
        raise Problem(409, "limit-reached", f"A tenant has at most {MAX_DEFINITIONS} attributes.")
    definition = _checked(Definition(**{**form.model_dump(), "allowed": tuple(form.allowed)}))
    await require_fit(db, who.tenant_id, definition)
    row = await db.fetchrow(
        "INSERT INTO attribute_definitions (tenant_id, name, type, personal, max_chars, max_items, minimum, maximum, "
        f"allowed, label_ja, label_en) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING {_COLUMNS}",
        who.tenant_id,
        *_values(definition),
    )
    return dict(row or {})


@router.get("", operation_id="listAttributes")
async def listed(db: Db, who: ReadContacts) -> dict[str, Any]:
    """All attributes that are defined, in order of name: one page."""
    rows = await db.fetch(
        f"SELECT {_COLUMNS} FROM attribute_definitions WHERE tenant_id = $1 ORDER BY name", who.tenant_id
    )
    return {"items": [dict(row) for row in rows], "next_cursor": None}


@router.get("/{name}", operation_id="getAttribute")
async def get(db: Db, who: ReadContacts, name: NameInPath) -> dict[str, Any]:
    """One attribute."""
    return await _require(db, who, name)


@router.patch("/{name}", operation_id="changeAttribute")
async def change(db: Db, who: WriteContacts, name: NameInPath, form: AttributeChange) -> dict[str, Any]:
    """Change an attribute. What contacts have must fit: 409 says how many do not; what fits takes the new form.

    To make a personal attribute an ordinary one takes `contacts:read_personal`.
    """
    before = definition_of(await _require(db, who, name, lock=True))
    changed = {field: getattr(form, field) for field in form.model_fields_set}
    given = {field: value for field, value in changed.items() if value is not None or field in ("minimum", "maximum")}
    if "type" in given and given["type"] is not before.type:
        given = {"minimum": None, "maximum": None, "allowed": [], **given}
    if "allowed" in given:
        given["allowed"] = tuple(given["allowed"])
    after = _checked(replace(before, **given))
    if before.personal and not after.personal:
        require_scope(who, Scope.CONTACTS_READ_PERSONAL)
    if replace(after, personal=before.personal, label_ja=before.label_ja, label_en=before.label_en) != before:
        await require_fit(db, who.tenant_id, after)
    row = await db.fetchrow(
        "UPDATE attribute_definitions SET type = $3, personal = $4, max_chars = $5, max_items = $6, minimum = $7, "
        "maximum = $8, allowed = $9, label_ja = $10, label_en = $11, updated_at = now() "
        f"WHERE tenant_id = $1 AND name = $2 RETURNING {_COLUMNS}",
        who.tenant_id,
        *_values(after),
    )
    return dict(row or {})


@router.delete("/{name}", status_code=204, operation_id="deleteAttribute")
async def delete(db: Db, who: WriteContacts, name: NameInPath) -> None:
    """Take a definition away; contacts keep their values, as free ones.

    For a personal attribute this takes `contacts:read_personal`: its values are masked no longer.
    """
    if (await _require(db, who, name, lock=True))["personal"]:
        require_scope(who, Scope.CONTACTS_READ_PERSONAL)
    await db.execute("DELETE FROM attribute_definitions WHERE tenant_id = $1 AND name = $2", who.tenant_id, name)


def _values(definition: Definition) -> tuple[Any, ...]:
    """The columns from ``name`` on, in the order of the table."""
    return (
        definition.name,
        definition.type.value,
        definition.personal,
        definition.max_chars,
        definition.max_items,
        definition.minimum,
        definition.maximum,
        list(definition.allowed),
        definition.label_ja,
        definition.label_en,
    )
