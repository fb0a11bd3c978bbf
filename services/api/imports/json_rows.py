"""From NDJSON (one JSON object a line) to contacts and row errors, chunk by chunk.

Promises: every line that is not empty is a contact or an error; a line has at most ``MAX_ROW_BYTES``, so memory is
bounded. Members are what columns are in a CSV; besides, an object ``attributes`` is taken member by member, so what the
API answers can be imported again. Values keep their JSON types where the attribute is not defined otherwise.
Fails: never as a whole; an object without an address is an error of its line.
Source: https://github.com/ndjson/ndjson-spec, RFC 8259.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from hayabin.domain.address import AddressInvalid, parse_address
from services.api.forms import plain
from services.api.imports.columns import typed_value
from services.api.imports.contact_rows import (
    LOCALE_CHARS,
    MAX_ATTRIBUTES_CHARS,
    MAX_COLUMNS,
    MAX_VALUE_CHARS,
    Contact,
    RowError,
    RowRefused,
    moment_of,
    name_of,
    shown_value,
    stage_of,
    time_zone_of,
)
from services.api.imports.header_mapping import ATTRIBUTE, Automatic, Target, is_column_name
from services.api.imports.row_cutter import BOM, MAX_ROW_BYTES
from services.api.imports.vocabulary import Vocabulary

ATTRIBUTES = "attributes"
_SPOKEN_OF = (Target.LOCALE.value, Target.STAGE.value, Target.TIME_ZONE.value)
_KEPT_TARGETS = 10_000


@dataclass(slots=True)
class LineCutter:
    """Cuts bytes into lines; a line that is too long is told once, without its content."""

    _rest: bytes = b""
    _line: int = 0
    _skipping: bool = False

    def feed(self, chunk: bytes) -> Iterator[tuple[int, bytes | None]]:
        """The lines that this chunk completes, with their numbers from 1; None for one that is too long."""
        lines = (self._rest + chunk).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            yield from self._take(line)
        if len(self._rest) > MAX_ROW_BYTES:
            self._rest = b""
            if not self._skipping:
                self._skipping = True
                yield self._line + 1, None

    def finish(self) -> Iterator[tuple[int, bytes | None]]:
        """The last line, where no line end follows it."""
        if self._rest or self._skipping:
            yield from self._take(self._rest)
            self._rest = b""

    def _take(self, line: bytes) -> Iterator[tuple[int, bytes | None]]:
        self._line += 1
        if self._line == 1:
            line = line.removeprefix(BOM)
        if self._skipping:
            self._skipping = False
        elif len(line) > MAX_ROW_BYTES:
            yield self._line, None
        elif line.strip():
            yield self._line, line


@dataclass(slots=True)
class JsonRows:
    """Feed it chunks, then ``finish``; as ``CsvRows``."""

    mapping: Mapping[str, str] | None = None
    vocabulary: Vocabulary = field(default_factory=Vocabulary)
    _cutter: LineCutter = field(default_factory=LineCutter)
    _targets: dict[str, str] = field(default_factory=dict)
    _automatic: Automatic = field(init=False)

    def __post_init__(self) -> None:
        """Look at what is defined once."""
        self._automatic = Automatic(self.vocabulary.known)

    @property
    def says(self) -> frozenset[str]:
        """Any object may speak of them; of moments of consent, only where the mapping says so."""
        found = set(_SPOKEN_OF)
        if self.mapping is not None and Target.CONSENTED_AT in self.mapping.values():
            found.add(Target.CONSENTED_AT.value)
        return frozenset(found)

    def feed(self, chunk: bytes) -> list[Contact | RowError]:
        """The contacts and errors of the lines that this chunk completes."""
        return [self._read(line, content) for line, content in self._cutter.feed(chunk)]

    def finish(self) -> list[Contact | RowError]:
        """What the end of the file completes."""
        return [self._read(line, content) for line, content in self._cutter.finish()]

    def _read(self, line: int, content: bytes | None) -> Contact | RowError:
        if content is None:
            return RowError(line, "", "line_too_long", f"not read, at most {MAX_ROW_BYTES} bytes make a line")
        try:
            found = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            return RowRefused("", "malformed", str(error)).at(line)
        if not isinstance(found, dict):
            return RowError(line, "", "not_an_object", "")
        try:
            return self._contact(line, found)
        except RowRefused as refused:
            return refused.at(line)

    def _contact(self, line: int, found: dict[str, Any]) -> Contact:
        members = members_of(found)
        if len(members) > MAX_COLUMNS:
            raise RowRefused("", "column_count", f"{len(members)} members, at most {MAX_COLUMNS}")
        texts: dict[str, tuple[str, str]] = {}
        attributes: dict[str, Any] = {}
        for member, value in members.items():
            target = self._target(member)
            if value is None or value == "" or target == Target.SKIP:
                continue
            if target.startswith(ATTRIBUTE):
                name = target.removeprefix(ATTRIBUTE)
                if name in attributes:
                    raise RowRefused(member, "ambiguous", f"another member is the attribute {name} too")
                attributes[name] = self._attribute(member, name, value)
            elif target in texts:
                raise RowRefused(member, "ambiguous", f"{texts[target][0]} is the {target} too")
            else:
                texts[target] = member, _text(member, value)
        if len(str(attributes)) > MAX_ATTRIBUTES_CHARS:
            raise RowRefused(ATTRIBUTES, "value_too_long", "")
        return _made(line, texts, attributes, self.vocabulary.stages)

    def _target(self, member: str) -> str:
        if self.mapping is not None:
            return self.mapping.get(member, Target.SKIP.value)
        if member not in self._targets:
            if len(self._targets) >= _KEPT_TARGETS:  # names are the file's: bounds what is remembered of them
                self._targets.clear()
            if not is_column_name(member):
                raise RowRefused(member[:100], "invalid_name", member)
            (self._targets[member],) = self._automatic.targets([member])
        return self._targets[member]

    def _attribute(self, member: str, name: str, value: Any) -> Any:
        definition = self.vocabulary.definitions.get(name)
        if definition is not None:
            return typed_value(member, definition, value)
        try:
            plain({name: value})
        except ValueError as error:
            reason = "nul_character" if isinstance(value, str) and "\x00" in value else "invalid_value"
            raise RowRefused(member, reason, str(error)) from error
        if len(str(value)) > MAX_VALUE_CHARS:
            raise RowRefused(member, "value_too_long", str(value)[:MAX_VALUE_CHARS])
        return value


def members_of(found: dict[str, Any]) -> dict[str, Any]:
    """The members, those of an object ``attributes`` among them; what stands outside comes first."""
    inner = found.get(ATTRIBUTES)
    if not isinstance(inner, dict):
        return found
    return {**inner, **{name: value for name, value in found.items() if name != ATTRIBUTES}}


def _text(member: str, value: Any) -> str:
    if not isinstance(value, str):
        raise RowRefused(member, "not_a_string", shown_value(value))
    if "\x00" in value:
        raise RowRefused(member, "nul_character", value)
    if len(value) > MAX_VALUE_CHARS:
        raise RowRefused(member, "value_too_long", value)
    return value.strip()


def _made(line: int, texts: dict[str, tuple[str, str]], attributes: dict[str, Any], stages: frozenset[str]) -> Contact:
    member, email = texts.get(Target.EMAIL, ("email", ""))
    try:
        address = parse_address(email)
    except AddressInvalid as error:
        raise RowRefused(member, str(error.reason), email) from error
    nobody = ("", "")
    return Contact(
        line,
        address.given,
        address.wire,
        address.key,
        name_of(texts.get(Target.NAME, nobody)[1]),
        texts.get(Target.LOCALE, nobody)[1][:LOCALE_CHARS],
        attributes,
        stage_of(*texts.get(Target.STAGE, nobody), stages),
        time_zone_of(*texts.get(Target.TIME_ZONE, nobody)),
        moment_of(*texts.get(Target.CONSENTED_AT, nobody)),
    )
