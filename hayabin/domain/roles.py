"""What people are, and the rights of each role: a fixed table.

A viewer sees what there is, with personal data masked. An editor also writes contacts, templates and campaigns, and so
sees whom they are about; neither approves nor sends. An approver, and a sender, see what a viewer sees: one approves
what somebody else wrote, the other launches, pauses and stops. An admin may do everything of the tenant. Nobody's role
reaches beyond the tenant (``platform:admin``).
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from hayabin.domain.scope import OF_TENANT, Scope


class Role(StrEnum):
    """What a user is in their tenant."""

    VIEWER = "viewer"
    EDITOR = "editor"
    APPROVER = "approver"
    SENDER = "sender"
    ADMIN = "admin"


class UserState(StrEnum):
    """Whether a user's keys work."""

    ACTIVE = "active"
    DISABLED = "disabled"


_VIEWER = frozenset({
    Scope.CONTACTS_READ,
    Scope.TEMPLATES_READ,
    Scope.CAMPAIGNS_READ,
    Scope.SUPPRESSIONS_READ,
    Scope.DOMAINS_READ,
})  # fmt: skip
_EDITOR = _VIEWER | {
    Scope.CONTACTS_READ_PERSONAL,
    Scope.CONTACTS_WRITE,
    Scope.CONSENTS_READ,
    Scope.TEMPLATES_WRITE,
    Scope.CAMPAIGNS_WRITE,
    Scope.SUPPRESSIONS_WRITE,
}

RIGHTS: Final[Mapping[Role, frozenset[Scope]]] = {
    Role.VIEWER: _VIEWER,
    Role.EDITOR: _EDITOR,
    Role.APPROVER: _VIEWER | {Scope.CAMPAIGNS_APPROVE},
    Role.SENDER: _VIEWER | {Scope.CAMPAIGNS_SEND},
    Role.ADMIN: OF_TENANT,
}
_BY_NAME: Final[Mapping[str, frozenset[Scope]]] = {role.value: rights for role, rights in RIGHTS.items()}


def effective(scopes: frozenset[str], role: str) -> frozenset[str]:
    """What a personal key may do now: what it was given and its user's role still has; a role unknown has nothing."""
    return scopes & _BY_NAME.get(role, frozenset())
