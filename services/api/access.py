"""API keys: who calls, and what they may do.

Promises: a key is ``hyb_<prefix>_<secret>``; of the secret only the SHA-256 is kept (it has 256 random bits, so no slow
hash is needed) and compared in constant time; revoked and expired keys end at once.
Fails: 401 without a valid key, 403 naming the missing scope.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from fastapi import Depends, Request

from hayabin.database.engine import AWAY, Connection
from hayabin.telemetry.logging import get_logger
from services.api.problems import Problem

_FORM = re.compile(r"Bearer hyb_([a-z0-9]{12})_([A-Za-z0-9_-]{43})", re.ASCII)
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="hayabin"'}


class Scope(StrEnum):
    """What a key may do."""

    CONTACTS_READ = "contacts:read"
    CONTACTS_READ_PERSONAL = "contacts:read_personal"
    """Addresses, names and attributes flagged as personal; masked without it."""
    CONTACTS_EXPORT = "contacts:export"
    CONTACTS_WRITE = "contacts:write"
    CONTACTS_ERASE = "contacts:erase"
    CONSENTS_READ = "consents:read"
    TEMPLATES_READ = "templates:read"
    TEMPLATES_WRITE = "templates:write"
    CAMPAIGNS_READ = "campaigns:read"
    CAMPAIGNS_WRITE = "campaigns:write"
    CAMPAIGNS_APPROVE = "campaigns:approve"
    CAMPAIGNS_SEND = "campaigns:send"
    CAMPAIGNS_OVERRIDE = "campaigns:override"
    """Launch against a finding of the legal checks."""
    SUPPRESSIONS_READ = "suppressions:read"
    SUPPRESSIONS_WRITE = "suppressions:write"
    DOMAINS_READ = "domains:read"
    DOMAINS_WRITE = "domains:write"
    AUDIT_READ = "audit:read"
    TENANT_ADMIN = "tenant:admin"
    """Users, keys, quotas and the tenant's settings."""
    PLATFORM_ADMIN = "platform:admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls."""

    tenant_id: int
    key_id: int
    scopes: frozenset[str]
    user_id: int | None = None
    """The person whose key it is; None for a key of a program."""

    def may(self, scope: Scope) -> bool:
        """Whether the key has a scope."""
        return scope in self.scopes


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key as it is shown once, and what is kept of it."""

    shown: str
    prefix: str
    secret_hash: bytes


def new_key() -> NewKey:
    """A fresh random key."""
    prefix = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(12))
    secret = secrets.token_urlsafe(32)
    return NewKey(f"hyb_{prefix}_{secret}", prefix, hashlib.sha256(secret.encode()).digest())


def require_form(authorization: str | None) -> re.Match[str]:
    """Refuse what cannot be a key before anything is spent on it.

    Raises:
        Problem: 401.
    """
    found = _FORM.fullmatch(authorization or "")
    if found is None:
        raise Problem(401, "unauthenticated", "Send your API key as `Authorization: Bearer hyb_…`.", headers=_CHALLENGE)
    return found


async def authenticate(connection: Connection, authorization: str | None) -> Principal:
    """Who the ``Authorization`` header says.

    Raises:
        Problem: 401.
    """
    found = require_form(authorization)
    row = await connection.fetchrow(
        "SELECT id, tenant_id, secret_hash, scopes, last_used_at IS NULL OR last_used_at < now() - interval '1 minute' "
        "AS stale FROM api_keys WHERE prefix = $1 AND revoked_at IS NULL "
        "AND (expires_at IS NULL OR expires_at > now())",
        found[1],
    )
    expected = row["secret_hash"] if row else bytes(32)
    if not hmac.compare_digest(hashlib.sha256(found[2].encode()).digest(), expected) or row is None:
        raise Problem(401, "unauthenticated", "This API key is not valid (any more).", headers=_CHALLENGE)
    if row["stale"]:
        try:
            await connection.execute("UPDATE api_keys SET last_used_at = now() WHERE id = $1", row["id"])
        except AWAY as error:  # a full disk, a standby: who only reads is served all the same
            get_logger().warning("last_use_not_noted", key_id=row["id"], error=repr(error))
    return Principal(row["tenant_id"], row["id"], frozenset(row["scopes"]))


def require_scope(principal: Principal, scope: Scope) -> None:
    """Pass silently where the key has the scope.

    Raises:
        Problem: 403.
    """
    if not principal.may(scope):
        raise Problem(403, "missing-scope", f"This API key does not have the scope {scope}.")


# Coroutines, both of them: FastAPI runs a plain function in a thread.
def _allowed(scope: Scope) -> Callable[[Request], Awaitable[Principal]]:
    async def check(request: Request) -> Principal:
        principal: Principal = request.state.principal
        require_scope(principal, scope)
        return principal

    return check


async def _connection(request: Request) -> Connection:
    connection: Connection = request.state.connection
    return connection


Db = Annotated[Connection, Depends(_connection)]
"""The connection of this request; inside a transaction unless the method is GET."""

ReadContacts = Annotated[Principal, Depends(_allowed(Scope.CONTACTS_READ))]
ExportContacts = Annotated[Principal, Depends(_allowed(Scope.CONTACTS_EXPORT))]
EraseContacts = Annotated[Principal, Depends(_allowed(Scope.CONTACTS_ERASE))]
ReadConsents = Annotated[Principal, Depends(_allowed(Scope.CONSENTS_READ))]
WriteContacts = Annotated[Principal, Depends(_allowed(Scope.CONTACTS_WRITE))]
ReadTemplates = Annotated[Principal, Depends(_allowed(Scope.TEMPLATES_READ))]
WriteTemplates = Annotated[Principal, Depends(_allowed(Scope.TEMPLATES_WRITE))]
ReadCampaigns = Annotated[Principal, Depends(_allowed(Scope.CAMPAIGNS_READ))]
WriteCampaigns = Annotated[Principal, Depends(_allowed(Scope.CAMPAIGNS_WRITE))]
ApproveCampaigns = Annotated[Principal, Depends(_allowed(Scope.CAMPAIGNS_APPROVE))]
SendCampaigns = Annotated[Principal, Depends(_allowed(Scope.CAMPAIGNS_SEND))]
ReadSuppressions = Annotated[Principal, Depends(_allowed(Scope.SUPPRESSIONS_READ))]
WriteSuppressions = Annotated[Principal, Depends(_allowed(Scope.SUPPRESSIONS_WRITE))]
ReadDomains = Annotated[Principal, Depends(_allowed(Scope.DOMAINS_READ))]
WriteDomains = Annotated[Principal, Depends(_allowed(Scope.DOMAINS_WRITE))]
ReadAudit = Annotated[Principal, Depends(_allowed(Scope.AUDIT_READ))]
TenantAdmin = Annotated[Principal, Depends(_allowed(Scope.TENANT_ADMIN))]
PlatformAdmin = Annotated[Principal, Depends(_allowed(Scope.PLATFORM_ADMIN))]
