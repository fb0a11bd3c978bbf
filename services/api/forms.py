"""What request bodies are made of: strict types, no unknown fields, no control characters, bounded sizes."""

import math
import re
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Path
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from hayabin.domain.address import Address, AddressInvalid, parse_address
from services.api.problems import Problem

_SURROGATE = re.compile("[\ud800-\udfff]")


class Form(BaseModel):
    """Base of all request bodies."""

    model_config = ConfigDict(strict=True, extra="forbid")


def changes_of(form: Form, may_be_null: Collection[str] = ()) -> dict[str, Any]:
    """What a form changes: the members that were sent.

    Raises:
        Problem: 422 for ``null`` where that is no value.
    """
    changes = form.model_dump(by_alias=True, exclude_unset=True)
    cleared = [name for name, value in changes.items() if value is None and name not in may_be_null]
    if cleared:
        errors = [{"pointer": f"#/{name}", "message": "cannot be null"} for name in cleared]
        raise Problem(422, "invalid-request", "These need a value: leave out what is to stay.", errors=errors)
    return changes


def printable(value: str) -> str:
    """Pass one line of text on; a validator of forms."""
    if any(ord(character) < 32 or 127 <= ord(character) < 160 for character in value):
        raise ValueError("must not have control characters or line ends")
    return _storable(value)


def _storable(value: str) -> str:
    if "\x00" in value or _SURROGATE.search(value):
        raise ValueError("must not have NUL or half characters (lone surrogates)")
    return value


Line = Annotated[str, Field(max_length=300), AfterValidator(printable)]
"""One line of text."""
Text = Annotated[str, Field(min_length=1, max_length=1024 * 1024), AfterValidator(_storable)]
"""Any text, such as a template."""
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(printable)]


def _in_calendar(value: datetime) -> datetime:
    try:
        value.astimezone(UTC)
    except OverflowError:
        raise ValueError("no such moment in UTC") from None
    return value


Moment = Annotated[AwareDatetime, Field(strict=False), AfterValidator(_in_calendar)]
"""RFC 3339 with a time zone."""
Id = Annotated[int, Path(ge=1, le=2**63 - 1)]
Reference = Annotated[int, Field(ge=1, le=2**63 - 1)]

MAX_ATTRIBUTES = 100
MAX_ATTRIBUTES_CHARS = 20_000
MAX_PLAIN_CHARS = 200_000
MAX_DEPTH = 8


def _attributes(value: dict[str, Any]) -> dict[str, Any]:
    if len(value) > MAX_ATTRIBUTES or len(str(value)) > MAX_ATTRIBUTES_CHARS:
        raise ValueError(f"at most {MAX_ATTRIBUTES} attributes with {MAX_ATTRIBUTES_CHARS} characters in all")
    if any(not name or len(name) > 100 or name.startswith("_hb") for name in value):
        raise ValueError("names have 1 to 100 characters and do not begin with _hb")
    _require_plain(value, MAX_DEPTH)
    return value


def plain(value: dict[str, Any]) -> dict[str, Any]:
    """Pass a free-form object on where the database can take it as it is; a validator of forms."""
    _require_plain(value, MAX_DEPTH)
    if len(str(value)) > MAX_PLAIN_CHARS:
        raise ValueError(f"at most {MAX_PLAIN_CHARS} characters in all")
    return value


def _require_plain(value: object, depth: int) -> None:
    """Pass silently where the database and the renderer can take the value as it is."""
    match value:
        case str():
            _storable(value)
        case float() if not math.isfinite(value):
            raise ValueError("numbers must be finite")
        case int() if abs(value) >= 2**63:
            raise ValueError("whole numbers must be within 64 bits")
        case dict() | list() if depth == 0:
            raise ValueError(f"at most {MAX_DEPTH} levels of nesting")
        case dict():
            for name, item in value.items():
                _storable(name)
                _require_plain(item, depth - 1)
        case list():
            for item in value:
                _require_plain(item, depth - 1)
        case _:
            pass


Attributes = Annotated[dict[str, Any], AfterValidator(_attributes)]


def address_of(text: str, pointer: str) -> Address:
    """The address that ``text`` is.

    Raises:
        Problem: 422, naming what is wrong with it.
    """
    try:
        return parse_address(text)
    except AddressInvalid as error:
        message = f"{error.reason}: {error.detail}" if error.detail else str(error.reason)
        raise Problem(
            422,
            "invalid-address",
            "The address cannot be mailed to.",
            errors=[{"pointer": pointer, "message": message}],
        ) from error


Mailbox = Address
"""An address that mail comes from or goes back to."""


def mailbox_of(text: str, pointer: str) -> Mailbox:
    """The sender's or reply address that ``text`` is: ASCII, because every recipient's server has to take it.

    Raises:
        Problem: 422.
    """
    address = address_of(text, pointer)
    if address.needs_smtputf8:
        errors = [{"pointer": pointer, "message": "the part before the @ must be ASCII"}]
        raise Problem(422, "invalid-address", "Many servers would refuse this sender.", errors=errors)
    return address
