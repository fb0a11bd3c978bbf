"""Reading the consent ledger: by person, list and period, in the order in which it was written.

Promises: every statement names the tenant; a page leads on by id, so nothing is missed while rows are added. Who may
not read personal data gets addresses and IPs masked, and of notes the first character.
Fails: database errors come out.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, assert_never

import orjson

from hayabin.database.engine import Connection
from hayabin.domain.consent import ConsentAction
from hayabin.domain.masking import masked_address, masked_text
from services.api.access import Principal, Scope
from services.api.file_kind import FileKind
from services.api.spreadsheet import formula_safe

COLUMNS: Final = (
    "id", "contact_id", "email", "erased", "list_id", "action", "basis", "source", "wording", "ip", "user_agent",
    "note", "occurred_at", "recorded_at",
)  # fmt: skip

_SELECT = (
    "SELECT id, contact_id, NULLIF(address_key, '') AS email, address_hash IS NOT NULL AS erased, list_id, action, "
    "basis, source, wording, ip, user_agent, note, occurred_at, recorded_at FROM consents "
    "WHERE tenant_id = $1 AND id > $2"
)

_OF_ADDRESS = (
    "(address_key = {0} OR contact_id = (SELECT c.id FROM contacts c WHERE c.tenant_id = $1 AND c.address_key = {0}))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """Which rows; None: any."""

    contact_id: int | None = None
    address_key: str | None = None
    """Rows of the address, and of the contact that has it now whatever it had then."""
    list_id: int | None = None
    action: ConsentAction | None = None
    since: datetime | None = None
    until: datetime | None = None
    """When it was done, not when it was written."""


def _conditions(which: Which) -> tuple[str, list[Any]]:
    """The conditions that are asked for, and no others: each then has its index."""
    known = (
        ("contact_id = {}", which.contact_id),
        (_OF_ADDRESS, which.address_key),
        ("list_id = {}", which.list_id),
        ("action = {}", which.action),
        ("occurred_at >= {}", which.since),
        ("occurred_at < {}", which.until),
    )
    asked = [(condition, value) for condition, value in known if value is not None]
    sql = "".join(f" AND {condition.format(f'${place}')}" for place, (condition, _) in enumerate(asked, start=4))
    return sql, [value for _, value in asked]


async def rows_of(connection: Connection, tenant_id: int, which: Which, after_id: int, limit: int) -> list[Any]:
    """The next rows."""
    conditions, values = _conditions(which)
    sql = f"{_SELECT}{conditions} ORDER BY id LIMIT $3"
    found: list[Any] = await connection.fetch(sql, tenant_id, after_id, limit, *values)
    return found


def shown_consent(row: Any, who: Principal) -> dict[str, Any]:
    """A row as the caller may see it."""
    found = dict(row)
    if who.may(Scope.CONTACTS_READ_PERSONAL):
        return found
    for name, masked in (("email", masked_address), ("ip", masked_text), ("note", masked_text)):
        if found[name] is not None:
            found[name] = masked(found[name])
    return found


def head(kind: FileKind) -> str:
    """What the file begins with; the BOM tells Excel that it is UTF-8."""
    return "\ufeff" + ",".join(COLUMNS) + "\r\n" if kind is FileKind.CSV else ""


def lines_of(kind: FileKind, rows: Sequence[dict[str, Any]]) -> str:
    """Some lines of the file."""
    match kind:
        case FileKind.CSV:
            text = io.StringIO()
            csv.writer(text).writerows([_cell(row[name]) for name in COLUMNS] for row in rows)
            return text.getvalue()
        case FileKind.NDJSON:
            return "".join(orjson.dumps(row).decode() + "\n" for row in rows)
        case _:
            assert_never(kind)


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case datetime():
            return value.isoformat()
        case _:
            return formula_safe(str(value))
