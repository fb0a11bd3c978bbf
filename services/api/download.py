"""Answers that are longer than anybody wants in memory: streamed from the database, page by page.

Promises: each page is read in a short transaction of its own, as the caller's tenant, READ ONLY; no connection is held
while a slow reader takes his time.
Fails: once the answer has begun it can only break off, which the reader sees, as it does not end as HTTP says.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import quote

from fastapi import Request

from hayabin.database.engine import Connection, Database
from hayabin.database.lending import borrowed
from hayabin.database.tenancy import enter

_WAIT_S: Final = 10.0
_PAGE_S: Final = 30.0


@contextlib.asynccontextmanager
async def reading_as(request: Request, tenant_id: int) -> AsyncIterator[Connection]:
    """A connection that sees the tenant's rows, for the length of a page."""
    database: Database = request.app.state.database
    async with (
        borrowed(database.pool, wait_s=_WAIT_S, within_s=_PAGE_S) as loan,
        loan.connection.transaction(readonly=True),
    ):
        await enter(loan.connection, tenant_id)
        yield loan.connection


def as_attachment(filename: str) -> dict[str, str]:
    """Headers that make a browser save the answer under a name (RFC 6266)."""
    return {
        "Content-Disposition": f"attachment; filename=\"{filename}\"; filename*=UTF-8''{quote(filename)}",
        "X-Content-Type-Options": "nosniff",
    }
