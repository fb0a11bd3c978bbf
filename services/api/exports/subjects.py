"""What can be exported: its columns, where they come from, and which filters it takes.

Promises: all SQL is made of constants of this file; names of columns from outside are looked up here, and names of
attributes never become SQL. Each statement names the tenant itself: the scheduler sees all of them.
Fails: ``ColumnsUnknown`` and ``FilterUnfit``, which the API answers with 422.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from hayabin.database.erasing import shown_sql
from hayabin.domain.transfer import ExportSubject
from services.api.access import Scope

ATTRIBUTE: Final = "attribute:"
SEGMENT: Final = "segment_id"
MAX_COLUMNS: Final = 150


class Kind(StrEnum):
    """How a value is shown to whoever may not read personal data."""

    OPEN = "open"
    ADDRESS = "address"
    NAME = "name"
    ATTRIBUTES = "attributes"
    FREE_TEXT = "free_text"
    """May have an address in it."""
    TRACE = "trace"
    """Leads to a person: left out."""


class ColumnsUnknown(Exception):
    """Columns that the subject does not have."""

    def __init__(self, unknown: Sequence[str], there_are: Sequence[str]) -> None:
        """Keep both."""
        super().__init__(f"unknown columns: {', '.join(unknown)[:300]}")
        self.unknown = list(unknown)
        self.there_are = list(there_are)


class FilterUnfit(Exception):
    """A filter that is missing, or that the subject does not take; the message says which."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its SQL, and how it is masked."""

    sql: str
    kind: Kind = Kind.OPEN


@dataclass(frozen=True, slots=True)
class Subject:
    """One kind of export."""

    columns: Mapping[str, Column]
    source: str
    """FROM and WHERE with $1 for the tenant and $2, $3 … for the filters."""
    order: str
    filters: Mapping[str, type]
    """In the order of their parameters; NULL for one that is not given."""
    needed: frozenset[str] = frozenset()
    scope: Scope | None = None
    """Needed besides the right to export."""
    more: Mapping[str, Column] | None = None
    """Columns that are there if asked for."""
    has_segments: bool = False
    """Whether a segment can narrow it; its rows are ``contacts c``."""

    def check(self, given: Mapping[str, Any]) -> None:
        """Pass silently where the filters fit.

        Raises:
            FilterUnfit: see there.
        """
        there_are = [*self.filters, *((SEGMENT,) if self.has_segments else ())]
        unfit = sorted(set(given) - set(there_are))
        missing = sorted(self.needed - set(given))
        if unfit:
            raise FilterUnfit(f"`{unfit[0]}` is no filter of this; it takes: {', '.join(there_are) or 'none'}.")
        if missing:
            raise FilterUnfit(f"The filter `{missing[0]}` is needed.")

    def chosen(self, names: Sequence[str]) -> list[str]:
        """The columns of an export; all usual ones where none are named.

        Raises:
            ColumnsUnknown: see there.
        """
        if not names:
            return list(self.columns)
        unknown = [name for name in names if not self._has(name)]
        if unknown or len(set(names)) < len(names):
            raise ColumnsUnknown(unknown or list(names), [*self.columns, *(self.more or {})])
        return list(names)

    def statement(self, names: Sequence[str], narrowed: str = "") -> str:
        """The SELECT of the columns; attributes come whole, once. ``narrowed``: one more condition, of a segment."""
        known = {**self.columns, **(self.more or {})}
        wanted = [name for name in names if name in known]
        if any(name.startswith(ATTRIBUTE) for name in names) and "attributes" not in wanted:
            wanted.append("attributes")
        shown = ", ".join(f'{known[name].sql} AS "{name}"' for name in wanted) or "1"
        more = f" AND {narrowed}" if narrowed else ""
        return f"SELECT {shown} {self.source}{more} ORDER BY {self.order}"

    def kinds(self) -> dict[str, Kind]:
        """How each column is masked."""
        return {name: column.kind for name, column in {**self.columns, **(self.more or {})}.items()}

    def parameters(self, given: Mapping[str, Any]) -> list[Any]:
        """The filters as parameters, from how the job keeps them."""
        return [_value(given.get(name), kind) for name, kind in self.filters.items()]

    def _has(self, name: str) -> bool:
        known = {**self.columns, **(self.more or {})}
        if name.startswith(ATTRIBUTE):
            attribute = name.removeprefix(ATTRIBUTE)
            return "attributes" in known and 0 < len(attribute) <= 100 and attribute.isprintable()
        return name in known


def _value(stored: Any, kind: type) -> Any:
    return datetime.fromisoformat(stored) if kind is datetime and stored is not None else stored


_PERSON: Final = {
    "email": Column("c.address", Kind.ADDRESS),
    "name": Column("c.name", Kind.NAME),
    "locale": Column("c.locale"),
    "stage": Column("c.stage"),
    "time_zone": Column("c.time_zone"),
    "flags": Column("c.flags"),
    "attributes": Column("c.attributes", Kind.ATTRIBUTES),
}

SUBJECTS: Final[Mapping[ExportSubject, Subject]] = {
    ExportSubject.CONTACTS: Subject(
        columns={"id": Column("c.id"), **_PERSON, "created_at": Column("c.created_at"),
                 "updated_at": Column("c.updated_at")},
        source="""FROM contacts c WHERE c.tenant_id = $1 AND ($2::bigint IS NULL OR EXISTS (
            SELECT 1 FROM list_members m WHERE m.list_id = $2 AND m.contact_id = c.id AND m.state = 'subscribed'))""",
        order="c.id", filters={"list_id": int}, has_segments=True,
    ),
    ExportSubject.LIST_MEMBERS: Subject(
        columns={"contact_id": Column("m.contact_id"), "email": _PERSON["email"], "name": _PERSON["name"],
                 "state": Column("m.state"), "consent": Column("m.consent"), "updated_at": Column("m.updated_at")},
        more={name: _PERSON[name] for name in ("locale", "stage", "time_zone", "flags", "attributes")},
        source="""FROM list_members m JOIN lists l ON l.id = m.list_id JOIN contacts c ON c.id = m.contact_id
            WHERE l.tenant_id = $1 AND m.list_id = $2 AND ($3::text IS NULL OR m.state = $3)""",
        order="m.contact_id", filters={"list_id": int, "state": str}, needed=frozenset({"list_id"}),
    ),
    ExportSubject.SUPPRESSIONS: Subject(
        columns={"email": Column(shown_sql("s.address_key"), Kind.ADDRESS), "list_id": Column("s.list_id"),
                 "reason": Column("s.reason"), "source": Column("s.source", Kind.FREE_TEXT),
                 "created_at": Column("s.created_at"), "expires_at": Column("s.expires_at")},
        source="""FROM suppressions s WHERE s.tenant_id = $1 AND ($2::bigint IS NULL OR s.list_id = $2)""",
        order="s.address_key, s.list_id", filters={"list_id": int}, scope=Scope.SUPPRESSIONS_READ,
    ),
    ExportSubject.CONSENTS: Subject(
        columns={"id": Column("k.id"), "contact_id": Column("k.contact_id"),
                 "email": Column("k.address_key", Kind.ADDRESS), "list_id": Column("k.list_id"),
                 "action": Column("k.action"), "basis": Column("k.basis"), "source": Column("k.source"),
                 "wording": Column("k.wording"), "ip": Column("k.ip", Kind.TRACE),
                 "user_agent": Column("k.user_agent", Kind.TRACE), "note": Column("k.note", Kind.FREE_TEXT),
                 "occurred_at": Column("k.occurred_at"), "recorded_at": Column("k.recorded_at")},
        source="""FROM consents k WHERE k.tenant_id = $1 AND ($2::bigint IS NULL OR k.list_id = $2)
            AND ($3::timestamptz IS NULL OR k.occurred_at >= $3) AND ($4::timestamptz IS NULL OR k.occurred_at < $4)""",
        order="k.id", filters={"list_id": int, "since": datetime, "until": datetime}, scope=Scope.CONSENTS_READ,
    ),
    ExportSubject.CAMPAIGN_MESSAGES: Subject(
        columns={"id": Column("m.id"), "contact_id": Column("r.contact_id"),
                 "email": Column("COALESCE(r.wire, m.address_key)", Kind.ADDRESS), "name": Column("r.name", Kind.NAME),
                 "state": Column("m.state"), "reason": Column("m.reason"), "attempt": Column("m.attempt"),
                 "changed_at": Column("m.changed_at")},
        source="""FROM messages m LEFT JOIN recipients r ON r.message_id = m.id
            WHERE m.tenant_id = $1 AND m.campaign_id = $2 AND ($3::text IS NULL OR m.state = $3)""",
        order="m.id", filters={"campaign_id": int, "state": str}, needed=frozenset({"campaign_id"}),
        scope=Scope.CAMPAIGNS_READ,
    ),
    ExportSubject.EVENTS: Subject(
        columns={"id": Column("e.id"), "campaign_id": Column("e.campaign_id"), "message_id": Column("e.message_id"),
                 "email": Column(shown_sql("m.address_key"), Kind.ADDRESS), "kind": Column("e.kind"),
                 "detail": Column("e.detail", Kind.FREE_TEXT), "occurred_at": Column("e.occurred_at")},
        source="""FROM events e LEFT JOIN messages m ON m.id = e.message_id AND m.tenant_id = e.tenant_id
            WHERE e.tenant_id = $1 AND ($2::bigint IS NULL OR e.campaign_id = $2)
            AND ($3::timestamptz IS NULL OR e.occurred_at >= $3) AND ($4::timestamptz IS NULL OR e.occurred_at < $4)""",
        order="e.id", filters={"campaign_id": int, "since": datetime, "until": datetime}, scope=Scope.CAMPAIGNS_READ,
    ),
}  # fmt: skip
