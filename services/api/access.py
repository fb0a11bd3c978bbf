"""API keys and what they may do; who calls is found out by ``authentication``.

Promises: a key is ``hyb_<prefix>_<secret>``; of the secret only the SHA-256 is kept (it has 256 random bits, so no slow
hash is needed).
Fails: 403 naming the missing scope.
"""

import hashlib
import secrets
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from hayabin.database.engine import Connection
from hayabin.domain.scope import Scope
from services.api.problems import Problem

__all__ = ["Scope"]  # beside what is defined here


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


def require_scope(principal: Principal, scope: Scope) -> None:
    """Pass silently where the key has the scope.

    Raises:
        Problem: 403.
    """
    if not principal.may(scope):
        raise Problem(403, "missing-scope", f"This API key does not have the scope {scope}.")


_Check = Callable[[Request], Awaitable[Principal]]
_CHECKS: dict[Scope, _Check] = {}


# Coroutines, both of them: FastAPI runs a plain function in a thread.
def _allowed(scope: Scope) -> _Check:
    async def check(request: Request) -> Principal:
        principal: Principal = request.state.principal
        require_scope(principal, scope)
        return principal

    _CHECKS[scope] = check
    return check


def scopes_of(calls: Iterable[object]) -> frozenset[Scope]:
    """The scopes that an operation's dependencies ask for."""
    asked = set(calls)
    return frozenset(scope for scope, check in _CHECKS.items() if check in asked)


async def _principal(request: Request) -> Principal:
    principal: Principal = request.state.principal
    return principal


async def _connection(request: Request) -> Connection:
    connection: Connection = request.state.connection
    return connection


Db = Annotated[Connection, Depends(_connection)]
"""The connection of this request: in its transaction, as the caller's tenant (of a GET READ ONLY)."""

Anybody = Annotated[Principal, Depends(_principal)]
"""Whoever has a valid key, whatever it may do."""
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
