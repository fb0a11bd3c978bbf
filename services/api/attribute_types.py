"""A tenant's attribute definitions, and values held against them.

Promises: ``definitions`` reads them once; ``fitted`` gives all attributes of a contact in the form that is stored,
those without a definition as they came. ``typed`` and its errors are the domain's, so API and import say the same.
Fails: 422 with a pointer to each attribute that does not fit.
"""

from collections.abc import Mapping
from typing import Any

from asyncpg import Record

from hayabin.database.engine import Connection
from hayabin.domain.attribute import AttributeType, Definition, ValueInvalid, ValueProblem, typed
from services.api.problems import Problem

__all__ = [
    "AttributeType",
    "Definition",
    "ValueInvalid",
    "ValueProblem",
    "definition_of",
    "definitions",
    "fitted",
    "pointer_to",
    "typed",
]

_READ_SQL = """
SELECT name, type, personal, max_chars, max_items, minimum, maximum, allowed, label_ja, label_en
FROM attribute_definitions WHERE tenant_id = $1 ORDER BY name"""


def definition_of(row: Mapping[str, Any] | Record) -> Definition:
    """A row of ``attribute_definitions``."""
    return Definition(
        name=row["name"],
        type=AttributeType(row["type"]),
        personal=row["personal"],
        max_chars=row["max_chars"],
        max_items=row["max_items"],
        minimum=row["minimum"],
        maximum=row["maximum"],
        allowed=tuple(row["allowed"]),
        label_ja=row["label_ja"],
        label_en=row["label_en"],
    )


async def definitions(db: Connection, tenant_id: int) -> Mapping[str, Definition]:
    """All definitions of a tenant by name; at most a hundred."""
    return {row["name"]: definition_of(row) for row in await db.fetch(_READ_SQL, tenant_id)}


async def fitted(db: Connection, tenant_id: int, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as they are stored; ``null`` stays, which removes one.

    Raises:
        Problem: 422, naming each that does not fit.
    """
    if not attributes:
        return {}
    known = await definitions(db, tenant_id)
    stored: dict[str, Any] = {}
    errors = []
    for name, value in attributes.items():
        definition = known.get(name)
        try:
            stored[name] = value if definition is None or value is None else typed(definition, value)
        except ValueInvalid as error:
            errors.append({"pointer": pointer_to("attributes", name), "message": str(error)})
    if errors:
        raise Problem(
            422, "invalid-attribute", "Not every attribute fits its definition (see `/v1/attributes`).", errors=errors
        )
    return stored


def pointer_to(*parts: str) -> str:
    """A JSON pointer into the body (RFC 6901)."""
    return "#" + "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)
