"""The header of a file: where what a contact is made of stands.

Promises: a header that is accepted has one column of addresses and no name twice.
Fails: ``FileRefused`` with what to do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from services.api.attribute_types import Definition, ValueInvalid, typed
from services.api.imports.contact_rows import MAX_COLUMNS, FileRefused, RowRefused, shown_value
from services.api.imports.header_mapping import ATTRIBUTE, Automatic, Target, is_column_name, said
from services.api.imports.vocabulary import Vocabulary

_KEPT_VALUES = 4096
_KEPT_CHARS = 32
"""Numbers and days are not longer; what is kept of a hundred columns has to stay small, whatever is in a file."""


@dataclass(slots=True)
class TypedColumn:
    """A column with a defined attribute; remembers what texts mean, because values repeat."""

    name: str
    definition: Definition
    _seen: dict[str, Any] = field(default_factory=dict)

    def value(self, column: str, text: str) -> Any:
        """The value in its canonical form.

        Raises:
            RowRefused: the text is none of that type.
        """
        try:
            return self._seen[text]
        except KeyError:
            pass
        value = typed_value(column, self.definition, text)
        if len(text) <= _KEPT_CHARS:
            if len(self._seen) >= _KEPT_VALUES:
                self._seen.clear()
            self._seen[text] = value
        return value


def typed_value(column: str, definition: Definition, given: Any) -> Any:
    """What ``given`` is as a value of a defined attribute.

    Raises:
        RowRefused: it is none.
    """
    try:
        return typed(definition, given)
    except ValueInvalid as error:
        raise RowRefused(column, error.reason.value, shown_value(given)) from error


@dataclass(frozen=True, slots=True)
class Columns:
    """The names, their targets, and the places of the targets."""

    names: list[str]
    targets: list[str]
    email: int
    name: int | None
    locale: int | None
    stage: int | None
    time_zone: int | None
    consented_at: int | None
    attributes: list[tuple[str, int]]
    typed: list[tuple[str, int, TypedColumn]]
    """Those of ``attributes`` that are defined: name, place, how to read them."""
    stages: frozenset[str]
    """Which there are; empty: any."""

    @classmethod
    def of(cls, names: Sequence[str], mapping: Mapping[str, str] | None, vocabulary: Vocabulary) -> Self:
        """Find them; of several columns of a kind the last one counts.

        Raises:
            FileRefused: see the module.
        """
        if len(names) > MAX_COLUMNS:
            raise FileRefused(f"The header has {len(names)} columns; {MAX_COLUMNS} are possible.")
        targets = Automatic(vocabulary.known).targets(names) if mapping is None else said(names, mapping)
        if targets.count(Target.EMAIL) != 1:
            shown = ", ".join(names)[:300]
            raise FileRefused(f"The header must have one column `email` (or メールアドレス); it has: {shown}")
        if any(not is_column_name(name) for name in names) or len(set(names)) < len(names):
            raise FileRefused(
                "Every column needs a name of its own, of at most 100 characters, not beginning with _hb."
            )
        known = vocabulary.definitions
        at = {target: place for place, target in enumerate(targets)}
        attributes = [(t.removeprefix(ATTRIBUTE), place) for place, t in enumerate(targets) if t.startswith(ATTRIBUTE)]
        return cls(
            names=list(names), targets=targets, email=at[Target.EMAIL], name=at.get(Target.NAME),
            locale=at.get(Target.LOCALE), stage=at.get(Target.STAGE), time_zone=at.get(Target.TIME_ZONE),
            consented_at=at.get(Target.CONSENTED_AT), attributes=attributes,
            typed=[(n, place, TypedColumn(n, known[n])) for n, place in attributes if n in known],
            stages=vocabulary.stages,
        )  # fmt: skip

    @property
    def says(self) -> frozenset[str]:
        """Of what the file speaks, besides addresses, names and attributes."""
        places = {
            Target.LOCALE: self.locale, Target.STAGE: self.stage, Target.TIME_ZONE: self.time_zone,
            Target.CONSENTED_AT: self.consented_at,
        }  # fmt: skip
        return frozenset(target.value for target, place in places.items() if place is not None)
