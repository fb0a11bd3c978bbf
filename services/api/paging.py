"""Keyset pages: stable while rows come and go, equally fast everywhere.

Promises: ``next_cursor`` is opaque and checked on its way back. Fails: 422 for a cursor that we did not give.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query

from services.api.problems import Problem

Limit = Annotated[int, Query(ge=1, le=500, description="Rows on a page")]
Cursor = Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before")]


def after(cursor: str | None) -> int:
    """The id that the page begins after."""
    text = text_after(cursor)
    if text and not (text.isascii() and text.isdecimal()):
        raise _invalid()
    return min(int(text or "0"), 2**63 - 1)


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


def _invalid() -> Problem:
    return Problem(422, "invalid-cursor", "Take the cursor from `next_cursor` of the page before, unchanged.")


def page(rows: Sequence[Any], limit: int, key: str = "id") -> dict[str, Any]:
    """A page of rows; ask the database for ``limit + 1``."""
    shown = [dict(row) for row in rows[:limit]]
    cursor = None
    if len(rows) > limit:
        cursor = base64.urlsafe_b64encode(f"k:{shown[-1][key]}".encode()).decode().rstrip("=")
    return {"items": shown, "next_cursor": cursor}
