"""What a segment's SQL is made with: its parameters, and how a row of another table belongs to a contact.

Promises: nothing of a tenant's is text of a statement (``Parameters``); all else is text of these modules.
Fails: never.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hayabin.domain.segment import Rule

MAX_JOINED: Final = 8
"""More are looked up: each join has a hash of its own."""


@dataclass(slots=True)
class Parameters:
    """The values of a statement, in the order of their numbers."""

    values: list[Any] = field(default_factory=list)

    def add(self, value: Any, cast: str) -> str:
        """``$n`` of a value; ``cast`` is a type, of ours."""
        self.values.append(value)
        return f"${len(self.values)}::{cast}"


@dataclass(frozen=True, slots=True)
class Compiling:
    """What a condition is compiled with; ``now`` is the moment that "the last days" end at, in the tenant's zone."""

    parameters: Parameters
    tenant: str
    now: datetime
    nested: Mapping[int, Rule] = field(default_factory=dict)
    one_by_one: bool = False
    """For a few people of many: each look-up stays one, where the planner might read a whole table into a hash."""
    joined: list[str] | None = None
    """For a count of all: takes LEFT JOINs to ``c``, for the rules of which one of several is enough."""
    either: bool = False
    """Within such a rule."""

    def exists(self, sql: str) -> str:
        """A condition on ``c``."""
        return f"EXISTS ({sql}{' OFFSET 0' if self.one_by_one else ''})"

    def has(self, source: str, key: str, where: str, *, single: bool = True) -> str:
        """The condition that ``source`` has a row that is of ``c``; ``single``: it never has two.

        An EXISTS within an OR is read by one process, into a hash of its own; a join is read by several.
        """
        if self.joined is None or not self.either or not single or len(self.joined) == MAX_JOINED:
            return self.exists(f"SELECT 1 FROM {source} WHERE {key} = c.id AND {where}")  # noqa: S608 - see the module
        name = f"j{len(self.joined)}"
        self.joined.append(f"LEFT JOIN (SELECT {key} AS id FROM {source} WHERE {where}) {name} ON {name}.id = c.id")  # noqa: S608 - see the module
        return f"({name}.id IS NOT NULL)"

    def ago(self, days: int) -> str:
        """The parameter of a moment so many days before."""
        return self.parameters.add(self.now.astimezone(UTC) - timedelta(days=days), "timestamptz")
