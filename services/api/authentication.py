"""Who calls: the API key of the ``Authorization`` header.

Promises: secrets are compared in constant time; revoked and expired keys end at once, and so do those of a user who was
disabled. A personal key may do what it was given and its user's role has at this moment. ``authenticate`` asks one
question, and where it may it enters the tenant's role by the same statement (``hayabin.database.tenancy``): before the
secret was compared, so whoever gets its exception must roll back, as a transaction does.
Fails: 401 without a valid key, 403 for a key that is used outside its networks.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass

from hayabin.database.engine import AWAY, Connection
from hayabin.database.tenancy import enter_sql
from hayabin.domain.roles import effective
from hayabin.telemetry.logging import get_logger
from services.api.access import Principal
from services.api.peer import networks_of, within
from services.api.problems import Problem

_FORM = re.compile(r"Bearer hyb_([a-z0-9]{12})_([A-Za-z0-9_-]{43})", re.ASCII)
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="hayabin"'}

_FIND_SQL = """
SELECT k.id, k.tenant_id, k.secret_hash, k.scopes, k.cidrs, k.user_id, u.role,
       k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute' AS stale
FROM api_keys k LEFT JOIN users u ON u.id = k.user_id
WHERE k.prefix = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
  AND (k.user_id IS NULL OR u.state = 'active')"""
# OFFSET 0: found first, and once, so that no role is entered for a row that is not there.
_FIND_AND_ENTER_SQL = f"SELECT k.*, {enter_sql('k.tenant_id')} FROM ({_FIND_SQL} OFFSET 0) k"  # noqa: S608 - ours

_NOTE_SQL = """
WITH used AS (
    UPDATE api_keys SET last_used_at = now(), last_used_from = NULLIF($2, '') WHERE id = $1 RETURNING user_id)
UPDATE users SET last_seen_at = now() WHERE id = (SELECT user_id FROM used)"""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and whether to note that they did."""

    principal: Principal
    stale: bool
    """The last use that was noted is a minute ago."""


def require_form(authorization: str | None) -> re.Match[str]:
    """Refuse what cannot be a key before anything is spent on it.

    Raises:
        Problem: 401.
    """
    found = _FORM.fullmatch(authorization or "")
    if found is None:
        raise Problem(401, "unauthenticated", "Send your API key as `Authorization: Bearer hyb_…`.", headers=_CHALLENGE)
    return found


async def authenticate(connection: Connection, authorization: str | None, peer: str, *, enters: bool) -> Caller:
    """Who the ``Authorization`` header says; ``enters``: be that tenant until the end of the open transaction.

    Raises:
        Problem: 401, 403.
    """
    found = require_form(authorization)
    row = await connection.fetchrow(_FIND_AND_ENTER_SQL if enters else _FIND_SQL, found[1])
    expected = row["secret_hash"] if row else bytes(32)
    if not hmac.compare_digest(hashlib.sha256(found[2].encode()).digest(), expected) or row is None:
        raise Problem(401, "unauthenticated", "This API key is not valid (any more).", headers=_CHALLENGE)
    if row["cidrs"] and not within(peer, networks_of(row["cidrs"])):
        detail = f"This API key cannot be used from {peer or 'an unknown address'}: it is bound to other networks."
        raise Problem(403, "key-not-from-here", detail)
    scopes = frozenset(row["scopes"])
    if row["user_id"] is not None:
        scopes = effective(scopes, row["role"])
    return Caller(Principal(row["tenant_id"], row["id"], scopes, row["user_id"]), row["stale"])


async def note_use(connection: Connection, caller: Caller, peer: str) -> None:
    """Write down that a key was used, once a minute; outside the request's transaction, whatever comes of that."""
    if not caller.stale:
        return
    key_id = caller.principal.key_id
    try:
        await connection.execute(_NOTE_SQL, key_id, peer)
    except AWAY as error:  # a full disk, a standby: who only reads is served all the same
        get_logger().warning("last_use_not_noted", key_id=key_id, error=repr(error))
