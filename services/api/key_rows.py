"""API keys in the database: made, rotated, revoked, listed; by requests and by ``hayabin admin``.

Promises: of a secret only its hash is kept. A rotation makes a new key with the same rights beside the old one, which
works until the overlap is over (or until it would have expired anyway). A revoked key stays in the list.
Fails: None where there is no such key, or where it does not work any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hayabin.database.engine import Connection
from services.api.access import NewKey

COLUMNS = """id, name, 'hyb_' || prefix AS prefix, user_id, scopes, cidrs,
    CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN expires_at <= now() THEN 'expired' ELSE 'valid' END AS state,
    created_at, expires_at, revoked_at, last_used_at, last_used_from, replaces"""

_INSERT_SQL = f"""
INSERT INTO api_keys (tenant_id, name, prefix, secret_hash, user_id, scopes, cidrs, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING {COLUMNS}"""  # noqa: S608 - constants of ours

_WORKS = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"

_COPY_SQL = f"""
INSERT INTO api_keys (tenant_id, name, prefix, secret_hash, user_id, scopes, cidrs, expires_at, replaces)
SELECT tenant_id, name, $3, $4, user_id, scopes, cidrs, expires_at, id FROM api_keys
WHERE tenant_id = $1 AND id = $2 AND {_WORKS} RETURNING {COLUMNS}"""  # noqa: S608 - constants of ours

_END_SQL = f"""
UPDATE api_keys SET expires_at = least(expires_at, now() + make_interval(secs => $3))
WHERE tenant_id = $1 AND id = $2 RETURNING {COLUMNS}"""  # noqa: S608 - constants of ours

_REVOKE_SQL = """
UPDATE api_keys SET revoked_at = COALESCE(revoked_at, now()) WHERE tenant_id = $1 AND id = $2 RETURNING id"""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySpec:
    """What a key is for and what it may do."""

    name: str
    scopes: Sequence[str]
    user_id: int | None = None
    cidrs: Sequence[str] = ()
    expires_at: datetime | None = None


async def create(connection: Connection, tenant_id: int, key: NewKey, spec: KeySpec) -> dict[str, Any]:
    """A new key, without its secret."""
    row = await connection.fetchrow(
        _INSERT_SQL,
        tenant_id,
        spec.name,
        key.prefix,
        key.secret_hash,
        spec.user_id,
        sorted(spec.scopes),
        list(spec.cidrs),
        spec.expires_at,
    )
    return dict(row or {})


async def rotate(
    connection: Connection, tenant_id: int, key_id: int, key: NewKey, overlap_s: float
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The new key and the old one, within the caller's transaction; None where the old one does not work (any more)."""
    fresh = await connection.fetchrow(_COPY_SQL, tenant_id, key_id, key.prefix, key.secret_hash)
    if fresh is None:
        return None
    old = await connection.fetchrow(_END_SQL, tenant_id, key_id, float(overlap_s))
    return dict(fresh), dict(old or {})


async def revoke(connection: Connection, tenant_id: int, key_id: int) -> bool:
    """End a key at once, for good; whether there is such a key."""
    return await connection.fetchval(_REVOKE_SQL, tenant_id, key_id) is not None


async def find(connection: Connection, tenant_id: int, key_id: int) -> dict[str, Any] | None:
    """A key, without its secret."""
    row = await connection.fetchrow(
        f"SELECT {COLUMNS} FROM api_keys WHERE tenant_id = $1 AND id = $2",  # noqa: S608 - constants of ours
        tenant_id,
        key_id,
    )
    return None if row is None else dict(row)
