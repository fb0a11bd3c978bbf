"""Who a job is about: the addresses and contacts that are one person, and where their messages are found.

Promises: a person is an address key of a tenant, the contact that has it, and the addresses that this contact had
before and that nobody else has now. The ledger has no index by address, on purpose (it would cost each mail something,
for a question that is asked a few times a month): it is read in pages by id, and a job remembers how far it came.
Fails: database errors come out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from hayabin.database.engine import Connection
from hayabin.domain.address import AddressInvalid, parse_address
from services.api.people_jobs.mentions import Mentions

PAGE_IDS: Final = 50_000
"""Ids of the ledger that one page looks at: some ten milliseconds."""

_CONTACTS_SQL = "SELECT id, address, wire, address_key FROM contacts WHERE tenant_id = $1 AND address_key = $2"
_FORMER_SQL = """
SELECT DISTINCT CASE field WHEN 'merged' THEN old ->> 'email' ELSE old #>> '{}' END AS address FROM contact_changes
WHERE tenant_id = $1 AND contact_id = ANY($2) AND field IN ('email', 'merged')"""
_OTHERS_SQL = "SELECT address_key FROM contacts WHERE tenant_id = $1 AND address_key = ANY($2)"

_PAGE_SQL = """
SELECT m.id, m.state FROM messages m WHERE m.id > $1 AND m.id <= $2 AND m.tenant_id = $3 AND m.address_key = ANY($4)
UNION
SELECT m.id, m.state FROM recipients r JOIN messages m ON m.id = r.message_id
WHERE r.message_id > $1 AND r.message_id <= $2 AND r.tenant_id = $3 AND r.contact_id = ANY($5)
ORDER BY id"""


@dataclass(slots=True)
class Person:
    """See the module; kept in a job's notes while it runs."""

    tenant_id: int
    keys: list[str]
    contact_ids: list[int] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    """The addresses in every form in which we had them."""

    def mentions(self) -> Mentions:
        """What finds the person's addresses."""
        return Mentions({*self.keys, *self.written})

    def to_notes(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"keys": self.keys, "contact_ids": self.contact_ids, "written": self.written}

    @classmethod
    def from_notes(cls, tenant_id: int, notes: Mapping[str, Any]) -> "Person":
        """What ``to_notes`` made."""
        return cls(tenant_id, list(notes["keys"]), list(notes["contact_ids"]), list(notes["written"]))


async def find(connection: Connection, tenant_id: int, address_key: str) -> Person:
    """The person who has an address, as a contact or not."""
    person = Person(tenant_id, [address_key])
    for row in await connection.fetch(_CONTACTS_SQL, tenant_id, address_key):
        person.contact_ids.append(row["id"])
        person.written += [row["address"], row["wire"]]
    former = await connection.fetch(_FORMER_SQL, tenant_id, person.contact_ids)
    known = {key: text for text in (row["address"] for row in former) if (key := _key_of(text)) is not None}
    taken = {row["address_key"] for row in await connection.fetch(_OTHERS_SQL, tenant_id, list(known))}
    for key in sorted(known.keys() - taken - {address_key}):
        person.keys.append(key)
        person.written.append(known[key])
    return person


def _key_of(text: str | None) -> str | None:
    try:
        return parse_address(text or "").key
    except AddressInvalid:  # cut short in the history, or of an older release
        return None


@dataclass(frozen=True, slots=True)
class LedgerPage:
    """The person's rows in one stretch of the ledger."""

    states: Mapping[int, str]
    through_id: int
    last: bool

    @property
    def ids(self) -> Sequence[int]:
        """The ids of the rows, in order."""
        return sorted(self.states)


async def ledger_page(connection: Connection, person: Person, after_id: int) -> LedgerPage:
    """The next page after an id."""
    newest: int = await connection.fetchval("SELECT COALESCE(max(id), 0) FROM messages")
    through = after_id + PAGE_IDS
    rows = await connection.fetch(
        _PAGE_SQL, after_id, through, person.tenant_id, person.keys, person.contact_ids or [-1]
    )
    return LedgerPage({row["id"]: row["state"] for row in rows}, min(through, newest), through >= newest)
