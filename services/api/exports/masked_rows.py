"""Rows of an export as whoever asked for it may see them.

Promises: what may be personal is masked by the kind of its column; nothing is left out, so rows can be counted.
Fails: never.
"""

from collections.abc import Mapping
from typing import Any, assert_never

from hayabin.domain.masking import masked_address, masked_text
from services.api.exports.subjects import Kind
from services.api.masking import shown_attributes, without_addresses


def masked_row(row: Mapping[str, Any], kinds: Mapping[str, Kind], personal: frozenset[str]) -> dict[str, Any]:
    """A row without what tells who somebody is."""
    return {name: _masked(value, kinds[name], personal) for name, value in row.items()}


def _masked(value: Any, kind: Kind, personal: frozenset[str]) -> Any:
    if value is None:
        return None
    match kind:
        case Kind.OPEN:
            return value
        case Kind.ADDRESS:
            return masked_address(value)
        case Kind.NAME:
            return masked_text(value)
        case Kind.ATTRIBUTES:
            return shown_attributes(value, personal)
        case Kind.FREE_TEXT:
            return without_addresses(value)
        case Kind.TRACE:
            return ""
        case _ as never:
            assert_never(never)
