"""Rows of the suppression list, a tenant's or the platform's.

Promises: every statement names whose rows it means; what stands for somebody who was erased is shown without what it is
kept by. The cursor of somebody who may not read addresses is sealed, as it
has one in it.
Fails: 422 for what is no address, no domain, or no cursor of ours.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import Query, Request
from pydantic import AfterValidator

from hayabin.database.engine import Connection
from hayabin.database.erasing import anonymous_sql, shown_sql
from hayabin.database.sealing import SealBroken, seal, unseal
from hayabin.database.suppressing import PLATFORM_TENANT, domain_sql
from hayabin.domain.suppression import SuppressionReason
from hayabin.settings import secret_bytes
from services.api.access import Principal, Scope
from services.api.forms import Form, Moment, address_of
from services.api.masking import shown
from services.api.paging import cursor_of, text_after
from services.api.problems import Problem

_COLUMNS: Final = (
    f"{shown_sql('address_key')} AS email, {anonymous_sql('address_key')} AS erased, list_id, "
    f"CASE tenant_id WHEN {PLATFORM_TENANT} THEN 'platform' ELSE 'tenant' END AS scope, "
    "reason, source, created_at, expires_at"
)
_PURPOSE: Final = "cursor of suppressions"

_ADD_SQL = """
INSERT INTO suppressions AS s (tenant_id, address_key, list_id, reason, source, expires_at)
SELECT $1, key, $3, $4, 'api', $5 FROM unnest($2::text[]) AS k(key)
ON CONFLICT (tenant_id, address_key, list_id) DO UPDATE
SET reason = excluded.reason, source = excluded.source, expires_at = excluded.expires_at
WHERE s.expires_at IS NOT NULL AND COALESCE(excluded.expires_at > s.expires_at, true)
RETURNING (xmax = 0) AS added"""

_PAGE_SQL = f"""
SELECT {_COLUMNS}, address_key || ' ' || list_id AS place FROM suppressions
WHERE tenant_id = $1 AND (address_key, list_id) > ($2, $3)
  AND ($5::text IS NULL OR reason = $5) AND ($6::text IS NULL OR {domain_sql("address_key")} = $6)
  AND ($7::text IS NULL OR source = $7) AND ($8::bigint IS NULL OR list_id = $8)
  AND ($9::timestamptz IS NULL OR expires_at < $9)
ORDER BY address_key, list_id LIMIT $4"""  # noqa: S608 - constants of ours

_STANDING_SQL = f"""
SELECT {_COLUMNS.replace("source", f"CASE tenant_id WHEN {PLATFORM_TENANT} THEN '' ELSE source END AS source")}
FROM suppressions WHERE tenant_id + 0 IN ({PLATFORM_TENANT}, $1) AND address_key IN ($2, {domain_sql("$2")})
ORDER BY address_key = $2 DESC, tenant_id DESC, list_id"""  # noqa: S608 - constants of ours

_CHANGE_SQL = f"""
UPDATE suppressions SET expires_at = $4 WHERE tenant_id = $1 AND address_key = $2 AND list_id = $3
RETURNING {_COLUMNS}"""  # noqa: S608 - a constant of ours


def _to_come(value: datetime) -> datetime:
    if value <= datetime.now(UTC):
        raise ValueError("must be in the future; to end a suppression now, delete it")
    return value


Later = Annotated[Moment, AfterValidator(_to_come)]
LongCursor = Annotated[str | None, Query(max_length=1000, description="`next_cursor` of the page before")]
"""An address may have 254 octets, and be sealed."""


class SuppressionChange(Form):
    """When a suppression ends; null: never."""

    expires_at: Later | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """Which rows; None: any."""

    reason: SuppressionReason | None = None
    domain: str | None = None
    source: str | None = None
    list_id: int | None = None
    expires_before: datetime | None = None


def domain_key(text: str, pointer: str) -> str:
    """What a whole domain is suppressed by.

    Raises:
        Problem: 422.
    """
    return f"@{address_of(f'x@{text}', pointer).key.rpartition('@')[2]}"


def key_of(text: str, pointer: str) -> str:
    """The key of an address, or of the domain after a lone @.

    Raises:
        Problem: 422.
    """
    return domain_key(text[1:], pointer) if text.startswith("@") else address_of(text, pointer).key


def keys_of(emails: Sequence[str] | None, domains: Sequence[str] | None) -> list[str]:
    """The keys of a form, each once, in order.

    Raises:
        Problem: 422.
    """
    if emails is None and domains is None:
        errors = [{"pointer": "#/emails", "message": "give addresses, or domains"}]
        raise Problem(422, "invalid-request", "There is nothing to suppress.", errors=errors)
    keys = {address_of(text, f"#/emails/{number}").key for number, text in enumerate(emails or [])}
    keys |= {domain_key(text.removeprefix("@"), f"#/domains/{number}") for number, text in enumerate(domains or [])}
    return sorted(keys)


async def add(
    db: Connection, tenant_id: int, keys: Sequence[str], list_id: int, reason: SuppressionReason, until: datetime | None
) -> dict[str, int]:
    """Add rows; one that stands already gives way to what holds longer, and is never made shorter."""
    rows = await db.fetch(_ADD_SQL, tenant_id, list(keys), list_id, reason.value, until)
    added = sum(row["added"] for row in rows)
    return {"added": added, "known": len(keys) - added}


async def page_of(db: Connection, tenant_id: int, which: Which, place: tuple[str, int], limit: int) -> list[Any]:
    """The next rows."""
    found: list[Any] = await db.fetch(
        _PAGE_SQL,
        tenant_id,
        *place,
        limit,
        which.reason,
        None if which.domain is None else domain_key(which.domain.removeprefix("@"), "query:domain"),
        which.source,
        which.list_id,
        which.expires_before,
    )
    return found


async def standing(db: Connection, tenant_id: int, key: str) -> list[Any]:
    """What holds for a key: its own rows, its domain's, and the platform's of both."""
    found: list[Any] = await db.fetch(_STANDING_SQL, tenant_id, key)
    return found


async def change(db: Connection, tenant_id: int, key: str, list_id: int, until: datetime | None) -> Any:
    """Change when a row ends; None where there is none."""
    return await db.fetchrow(
        _CHANGE_SQL,
        tenant_id,
        key,
        list_id,
        until,
    )


async def remove(db: Connection, tenant_id: int, key: str, list_id: int) -> str | None:
    """Remove a row; returns its reason, or None where there was none."""
    reason: str | None = await db.fetchval(
        "DELETE FROM suppressions WHERE tenant_id = $1 AND address_key = $2 AND list_id = $3 RETURNING reason",
        tenant_id,
        key,
        list_id,
    )
    return reason


class Place:
    """Where a page ends, as the caller may know it."""

    def __init__(self, request: Request, who: Principal) -> None:
        """For this caller."""
        self._key = secret_bytes(request.app.state.settings.master_key)
        self._who = who
        self._sealed = not who.may(Scope.CONTACTS_READ_PERSONAL)

    def after(self, cursor: str | None) -> tuple[str, int]:
        """Address key and list that the page begins after.

        Raises:
            Problem: 422.
        """
        text = self._opened(cursor) if cursor and self._sealed else text_after(cursor)
        key, _, list_id = text.rpartition(" ")
        return key, min(int(list_id), 2**63 - 1) if list_id.isascii() and list_id.isdecimal() else -1

    def _opened(self, cursor: str) -> str:
        try:
            box = base64.urlsafe_b64decode(text_after(cursor))
            return unseal(self._key, self._who.tenant_id, _PURPOSE, box).decode()
        except (binascii.Error, ValueError, SealBroken) as error:
            detail = "Take the cursor from `next_cursor` of the page before, unchanged."
            raise Problem(422, "invalid-cursor", detail) from error

    def page(self, rows: Sequence[Any], limit: int) -> dict[str, Any]:
        """A page of rows; ask the database for ``limit + 1``."""
        items = [shown(row, self._who, frozenset()) for row in rows[:limit]]
        for item in items:
            del item["place"]
        return {"items": items, "next_cursor": self._cursor(rows[limit - 1]["place"]) if len(rows) > limit else None}

    def _cursor(self, place: str) -> str:
        if not self._sealed:
            return cursor_of(place)
        box = seal(self._key, self._who.tenant_id, _PURPOSE, place.encode())
        return cursor_of(base64.urlsafe_b64encode(box).decode())
