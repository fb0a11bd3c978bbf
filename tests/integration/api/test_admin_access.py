"""``hayabin admin`` for users and keys."""

import asyncio

import asyncpg

from hayabin.database.migrate import alembic_config
from tests.conftest import execute
from tests.integration.api.test_admin import _status, invoke


def test_admin_makes_users_whose_keys_follow_their_role(database_url: str) -> None:
    """A person's key has their role's rights; a disabled person's ends; the last admin stays."""
    invoke(database_url, "create-tenant", "acme")
    status, said = invoke(database_url, "create-user", "acme", "boss@example.jp", "--role", "admin")
    assert (status, "create-key acme --user boss@example.jp" in said) == (0, True)
    assert invoke(database_url, "create-user", "acme", "boss@EXAMPLE.jp", "--role", "viewer")[0] == 1
    assert invoke(database_url, "create-user", "acme", "no address", "--role", "viewer")[0] == 2
    assert invoke(database_url, "create-user", "nobody", "a@example.jp", "--role", "viewer")[0] == 1
    assert (
        invoke(database_url, "create-user", "acme", "hanako@example.jp", "--role", "viewer", "--name", "花子")[0] == 0
    )
    hanako = ("acme", "hanako@example.jp")
    status, said = invoke(database_url, "create-key", "acme", "--user", hanako[1], "--scope", "contacts:write")
    assert (status, "the role viewer has no contacts:write" in said) == (1, True)
    _, key = invoke(database_url, "create-key", "acme", "--user", hanako[1])
    assert (asyncio.run(_status(database_url, key)), asyncio.run(_status(database_url, key, "POST"))) == (200, 403)
    assert invoke(database_url, "change-user", *hanako, "--role", "editor")[0] == 0
    assert asyncio.run(_status(database_url, key, "POST")) == 403  # the key was given a viewer's rights
    assert invoke(database_url, "change-user", *hanako, "--state", "disabled")[0] == 0
    assert asyncio.run(_status(database_url, key)) == 401
    status, said = invoke(database_url, "change-user", "acme", "boss@example.jp", "--role", "viewer")
    assert (status, "last active admin" in said) == (1, True)
    listed = invoke(database_url, "list-users", "acme")[1].splitlines()
    assert [line.split("  ")[:3] for line in listed] == [
        ["boss@example.jp", "admin", "active"],
        ["hanako@example.jp", "editor", "disabled"],
    ]


def test_admin_rotates_a_key_with_an_overlap(database_url: str) -> None:
    """Both work, the old one until its time; with no overlap it ends at once. Networks bind a key."""
    invoke(database_url, "create-tenant", "acme")
    _, old = invoke(database_url, "create-key", "acme", "--name", "ci")
    _, fresh = invoke(database_url, "rotate-key", old.rpartition("_")[0])
    assert [asyncio.run(_status(database_url, key)) for key in (old, fresh)] == [200, 200]
    assert len(invoke(database_url, "list-keys", "acme")[1].splitlines()) == 2
    _, last = invoke(database_url, "rotate-key", fresh.split("_")[1], "--overlap-s", "0")
    assert [asyncio.run(_status(database_url, key)) for key in (fresh, last)] == [401, 200]
    assert invoke(database_url, "rotate-key", fresh.split("_")[1])[0] == 1
    _, bound = invoke(database_url, "create-key", "acme", "--cidr", "192.0.2.0/24")
    assert asyncio.run(_status(database_url, bound)) == 403
    assert invoke(database_url, "create-key", "acme", "--cidr", "192.0.2.1/24")[0] == 2


async def test_keys_made_before_roles_may_do_what_they_could(database_url: str) -> None:
    """The migration widens old keys: who read contacts sees and exports them, who had everything has everything."""
    from alembic import command  # noqa: PLC0415

    config = alembic_config(database_url)
    await asyncio.to_thread(command.downgrade, config, "0007")
    old = ("contacts:read,contacts:write,templates:read,templates:write,campaigns:read,campaigns:write,campaigns:send,"
           "suppressions:read,suppressions:write,domains:read,domains:write")  # fmt: skip
    keys = {"all": old, "reader": "contacts:read,campaigns:read", "sender": "campaigns:send"}
    await execute(database_url, "INSERT INTO tenants (slug, name) VALUES ('old', 'old')")
    for name, scopes in keys.items():
        await execute(
            database_url,
            "INSERT INTO api_keys (tenant_id, name, prefix, secret_hash, scopes) "
            f"SELECT id, '{name}', '{name}', ''::bytea, string_to_array('{scopes}', ',') FROM tenants WHERE slug = 'old'",
        )
    await asyncio.to_thread(command.upgrade, config, "head")
    connection = await asyncpg.connect(database_url)
    try:
        found = {row["name"]: set(row["scopes"]) for row in await connection.fetch("SELECT name, scopes FROM api_keys")}
    finally:
        await connection.close()
    from hayabin.domain.scope import OF_TENANT  # noqa: PLC0415

    assert found["all"] == {scope.value for scope in OF_TENANT}
    assert found["reader"] == {"contacts:read", "campaigns:read", "contacts:read_personal", "contacts:export"}
    assert found["sender"] == {"campaigns:send"}
