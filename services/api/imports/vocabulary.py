"""What a tenant has defined, against which the values of a file are held: attributes and stages.

Promises: read once for a job or a preview. Fails: database errors come out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hayabin.database.engine import Connection
from services.api.attribute_types import Definition, definitions
from services.api.imports.header_mapping import KnownAttribute


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """See the module; nothing is defined by default."""

    definitions: Mapping[str, Definition] = field(default_factory=dict)
    stages: frozenset[str] = frozenset()
    """Empty: contacts may have any."""

    @property
    def known(self) -> list[KnownAttribute]:
        """The defined attributes, for the mapping."""
        return [KnownAttribute(name, (one.label_ja, one.label_en)) for name, one in self.definitions.items()]


async def vocabulary_of(connection: Connection, tenant_id: int) -> Vocabulary:
    """What a tenant has defined."""
    rows = await connection.fetch("SELECT name FROM contact_stages WHERE tenant_id = $1", tenant_id)
    return Vocabulary(await definitions(connection, tenant_id), frozenset(row["name"] for row in rows))
