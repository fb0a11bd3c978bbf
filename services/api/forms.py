"""What request bodies are made of: strict types, no unknown fields, no control characters, bounded sizes."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import Path
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from hayabin.domain.address import Address, AddressInvalid, parse_address
from services.api.problems import Problem


class Form(BaseModel):
    """Base of all request bodies."""

    model_config = ConfigDict(strict=True, extra="forbid")


def _printable(value: str) -> str:
    if any(ord(character) < 32 or 127 <= ord(character) < 160 for character in value):
        raise ValueError("must not have control characters or line ends")
    return value


Line = Annotated[str, Field(max_length=300), AfterValidator(_printable)]
"""One line of text."""
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
Moment = Annotated[AwareDatetime, Field(strict=False)]
"""RFC 3339 with a time zone."""
Id = Annotated[int, Path(ge=1, le=2**63 - 1)]
Reference = Annotated[int, Field(ge=1, le=2**63 - 1)]

MAX_ATTRIBUTES = 100
MAX_ATTRIBUTES_CHARS = 20_000


def _attributes(value: dict[str, Any]) -> dict[str, Any]:
    if len(value) > MAX_ATTRIBUTES or len(str(value)) > MAX_ATTRIBUTES_CHARS:
        raise ValueError(f"at most {MAX_ATTRIBUTES} attributes with {MAX_ATTRIBUTES_CHARS} characters in all")
    if any(not name or len(name) > 100 or "\x00" in name or name.startswith("_hb") for name in value):
        raise ValueError("names have 1 to 100 characters and do not begin with _hb")
    if "\\u0000" in ascii(value) or "\\x00" in ascii(value):
        raise ValueError("values must not have NUL characters")
    return value


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


def moment(value: datetime | None) -> str | None:
    """A time as RFC 3339."""
    return None if value is None else value.isoformat()
