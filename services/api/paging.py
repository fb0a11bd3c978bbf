"""Keyset pages: stable while rows come and go, equally fast everywhere.

Promises: ``next_cursor`` is opaque and checked on its way back. Fails: 422 for a cursor that we did not give.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query

from hayabin.database.engine import Connection
from services.api.problems import Problem

Limit = Annotated[int, Query(ge=1, le=500, description="Rows on a page")]
Cursor = Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before")]


def after(cursor: str | None) -> int:
    """The id that the page begins after."""
    return ids_after(cursor, 1)[0]


def text_after(cursor: str | None) -> str:
    """The text that the page begins after."""
    if not cursor:
        return ""
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise _invalid() from error
    if not text.startswith("k:") or "\x00" in text:
        raise _invalid()
    return text[2:]


def words_after(cursor: str | None, count: int) -> list[str]:
    """The ``count`` words that the page begins after, where the key is made of several; empty ones to begin with."""
    words = text_after(cursor).split(" ")
    return [*words, *[""] * count][:count]


def ids_after(cursor: str | None, count: int) -> list[int]:
    """The ``count`` ids that the page begins after; zeros to begin with."""
    words = words_after(cursor, count)
    if not all(word.isascii() and (word.isdecimal() or not word) for word in words):
        raise _invalid()
    return [min(int(word or "0"), 2**63 - 1) for word in words]


def _invalid() -> Problem:
    return Problem(422, "invalid-cursor", "Take the cursor from `next_cursor` of the page before, unchanged.")


def page(rows: Sequence[Any], limit: int, key: str = "id") -> dict[str, Any]:
    """A page of rows; ask the database for ``limit + 1``."""
    shown = [dict(row) for row in rows[:limit]]
    return {"items": shown, "next_cursor": cursor_of(shown[-1][key]) if len(rows) > limit else None}


async def page_of(
    connection: Connection, tenant_id: int, select: str, limit: int, cursor: str | None
) -> dict[str, Any]:
    """A page of rows in order of id; ``select`` is SQL of ours that ends in its WHERE, with the tenant as ``$1``."""
    rows = await connection.fetch(f"{select} AND id > $2 ORDER BY id LIMIT $3", tenant_id, after(cursor), limit + 1)
    return page(rows, limit)


def cursor_of(place: object) -> str:
    """The cursor of a page that begins after a place."""
    return base64.urlsafe_b64encode(f"k:{place}".encode()).decode().rstrip("=")
