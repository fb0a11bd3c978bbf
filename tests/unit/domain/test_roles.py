"""Roles: what each may do, and what a personal key may do of it."""

from hypothesis import given
from hypothesis import strategies as st

from hayabin.domain.roles import RIGHTS, Role, effective
from hayabin.domain.scope import EVERY_SCOPE, OF_TENANT, Scope

SCOPES = st.frozensets(st.sampled_from([*sorted(EVERY_SCOPE), "no:such"]))


def test_roles_are_as_they_are_documented() -> None:
    """Viewers and who decides see no personal data; who writes neither approves nor sends; nobody is the operator."""
    personal = {Scope.CONTACTS_READ_PERSONAL, Scope.CONTACTS_EXPORT, Scope.CONTACTS_ERASE, Scope.CONSENTS_READ}
    for role in (Role.VIEWER, Role.APPROVER, Role.SENDER):
        assert not RIGHTS[role] & personal
        assert not [scope for scope in RIGHTS[role] if scope.endswith(":write")]
    deciding = {Scope.CAMPAIGNS_APPROVE, Scope.CAMPAIGNS_SEND, Scope.CAMPAIGNS_OVERRIDE}
    assert not RIGHTS[Role.EDITOR] & deciding
    assert RIGHTS[Role.APPROVER] & deciding == {Scope.CAMPAIGNS_APPROVE}
    assert RIGHTS[Role.SENDER] & deciding == {Scope.CAMPAIGNS_SEND}
    assert RIGHTS[Role.ADMIN] == OF_TENANT
    for role in Role:
        assert RIGHTS[Role.VIEWER] <= RIGHTS[role]
        assert Scope.PLATFORM_ADMIN not in RIGHTS[role]
        assert (Scope.TENANT_ADMIN in RIGHTS[role]) == (role is Role.ADMIN)


@given(SCOPES, st.sampled_from([*Role, "owner", ""]))
def test_effective_scopes_are_within_what_was_given_and_the_role(scopes: frozenset[str], role: str) -> None:
    """Neither a key nor a role gives more than the other; a role that is none has nothing."""
    found = effective(scopes, role)
    assert found <= scopes
    assert found == (scopes & RIGHTS[Role(role)] if role in set(Role) else frozenset())
