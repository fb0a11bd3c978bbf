"""The OpenAPI document beside the tables that its answers come from."""

from collections.abc import Iterator
from typing import Any

from hayabin.database.models import metadata
from services.api.examples import ANSWERS
from services.api.openapi import MAY_BE_NULL

OTHERWISE_NAMED = {
    "state",  # of a subscription's history alone; a state anywhere else is never null
    "status",  # of the answers kept for an Idempotency-Key
    "address_hash",  # of the consent ledger; shown of erasures, which have one
}


def members(example: Any) -> Iterator[str]:
    """Names of all members in an example."""
    match example:
        case dict():
            for name, value in example.items():
                yield name
                yield from members(value)
        case list() | tuple():
            for value in example:
                yield from members(value)


def test_what_a_column_may_lack_the_document_calls_nullable() -> None:
    """A generated client must not fail on an attempt without a reply."""
    shown = set(members(list(ANSWERS.values())))
    nullable = {column.name for table in metadata.tables.values() for column in table.columns if column.nullable}
    assert (nullable & shown) - MAY_BE_NULL - OTHERWISE_NAMED == set()
