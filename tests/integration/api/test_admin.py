"""``hayabin admin``: what an operator does before there is any key."""

import asyncio
import base64
import hashlib
import os
import re
import subprocess
import sys

import asyncpg
import httpx
import pytest
from click.testing import CliRunner

from hayabin.database.engine import Database
from services.api.app import make_app
from services.standalone.command import hayabin
from tests.conftest import new_database, with_database
from tests.integration.api.conftest import client_of, settings_of


def invoke(database_url: str, *words: str) -> tuple[int, str]:
    """Run the command in this process; its status and what it says."""
    result = CliRunner().invoke(hayabin, ["admin", *words], env={"HAYABIN_DATABASE_URL": database_url})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output.strip()


async def _status(database_url: str, key: str, method: str = "GET") -> int:
    async with (
        Database(database_url, name="test", size=2) as database,
        client_of(make_app(settings_of(database_url), database), key) as client,
    ):
        answer: httpx.Response = await client.request(method, "/v1/contacts", json={"email": "a@b.example"})
        return answer.status_code


async def _done_by_operators(database_url: str) -> list[str]:
    async with Database(database_url, name="test", size=2) as database:
        return list(await database.pool.fetchval("SELECT array_agg(action ORDER BY entry_id) FROM audit_pending"))


def test_admin_makes_a_tenant_with_keys_that_work_until_revoked(database_url: str) -> None:
    """The key is shown once and works; a scope limits it; revoking ends it; the list never shows the secret."""
    assert invoke(database_url, "create-tenant", "acme", "--name", "Acme")[0] == 0
    status, said = invoke(database_url, "create-tenant", "acme")
    assert (status, "already" in said) == (1, True)
    assert invoke(database_url, "create-key", "nobody")[0] == 1
    status, key = invoke(database_url, "create-key", "acme", "--name", "ci", "--expires-days", "3")
    assert status == 0
    assert key.startswith("hyb_")
    assert asyncio.run(_status(database_url, key)) == 200
    _, reader = invoke(database_url, "create-key", "acme", "--scope", "contacts:read")
    assert asyncio.run(_status(database_url, reader)) == 200
    assert asyncio.run(_status(database_url, reader, "POST")) == 403
    _, listed = invoke(database_url, "list-keys", "acme")
    assert len(listed.splitlines()) == 2
    assert key.rpartition("_")[2] not in listed
    prefix = key.split("_")[1]
    assert prefix in listed
    assert invoke(database_url, "revoke-key", f"hyb_{prefix}_")[0] == 0
    assert invoke(database_url, "revoke-key", prefix)[0] == 1
    assert "revoked" in invoke(database_url, "list-keys", "acme")[1]
    assert asyncio.run(_status(database_url, key)) == 401


def test_admin_keeps_no_secret_of_a_key(database_url: str) -> None:
    """What is stored is the SHA-256 of the secret part, and nothing that contains it."""
    invoke(database_url, "create-tenant", "acme")
    _, key = invoke(database_url, "create-key", "acme")
    secret = key.split("_", 2)[2]

    async def stored() -> asyncpg.Record:
        connection = await asyncpg.connect(database_url)
        try:
            return (await connection.fetch("SELECT * FROM api_keys"))[0]
        finally:
            await connection.close()

    row = asyncio.run(stored())
    assert row["secret_hash"] == hashlib.sha256(secret.encode()).digest()
    assert secret not in str(dict(row))
    assert "platform:admin" not in row["scopes"]


def test_admin_says_what_to_do_when_it_cannot(postgres_url: str) -> None:
    """No schema yet, no server, no setting, a bad name: exit code 1 or 2 and a sentence, never a traceback."""
    with new_database(postgres_url) as name:
        url = with_database(postgres_url, name)
        status, said = invoke(url, "create-tenant", "acme")
        assert (status, "hayabin admin migrate" in said) == (1, True)
        assert invoke(url, "migrate")[0] == 0
        assert invoke(url, "create-tenant", "acme")[0] == 0
        assert invoke(url, "create-tenant", "Not A Slug!")[0] == 1
        assert invoke(url, "create-pool", "main")[0] == 0
        assert invoke(url, "create-pool", "main")[0] == 0
        assert invoke(url, "create-pool", "Main Pool")[0] == 1
        assert asyncio.run(_done_by_operators(url)) == ["createTenant", "createIpPool"]
    status, said = invoke("postgresql://postgres@127.0.0.1:1/x", "create-tenant", "acme")
    assert (status, "HAYABIN_DATABASE_URL" in said) == (1, True)
    status, said = invoke(url, "create-tenant", "acme")  # dropped meanwhile
    assert status == 1
    result = CliRunner().invoke(hayabin, ["admin", "create-tenant", "x"], env={"HAYABIN_DATABASE_URL": None})
    assert (result.exit_code, "HAYABIN_DATABASE_URL" in result.output) == (1, True)


def test_admin_suspends_shows_and_resumes_lanes(database_url: str) -> None:
    """What is suspended is among the lanes with its reason, until it is resumed; a wrong name is said and does nothing."""
    assert "No lane is in use." in invoke(database_url, "lanes")[1]
    status, said = invoke(database_url, "suspend", "--provider", "gmail", "--reason", "blocked", "--for-s", "3600")
    assert (status, "Suspended" in said) == (0, True)
    shown = invoke(database_url, "lanes", "--state", "suspended")[1]
    assert re.search(r"^\* +\* +gmail +suspended .*blocked until \d{4}-", shown)
    status, said = invoke(database_url, "suspend", "--provider", "gmial", "--reason", "x")
    assert (status, "one of gmail" in said) == (1, True)
    assert invoke(database_url, "suspend", "--reason", "x")[0] == 1
    assert invoke(database_url, "suspend", "--pool", "none", "--reason", "x") == (
        1,
        "Error: pool: there is no such pool",
    )
    assert invoke(database_url, "resume", "--provider", "gmail") == (0, "Lifted provider=gmail, by operator: blocked")
    assert invoke(database_url, "resume", "--provider", "gmail")[1] == "Nothing of this was suspended."


def test_new_secrets_are_32_random_bytes() -> None:
    """Two calls, two secrets, each of the length that the settings want."""
    secrets = [invoke("", "new-secret")[1] for _ in range(2)]
    assert secrets[0] != secrets[1]
    assert {len(base64.b64decode(secret)) for secret in secrets} == {32}


@pytest.mark.parametrize("module", ["services.standalone.command", "services.api.main"])
def test_commands_name_what_they_have(module: str) -> None:
    """Help and version come without a database and without any setting."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HAYABIN_")}
    arguments = [sys.executable, "-m", module]
    shown = subprocess.run([*arguments, "--help"], capture_output=True, text=True, env=environment, check=True).stdout
    assert "admin" in shown
    if module == "services.standalone.command":
        assert "demo" in shown
        assert " up " in shown
        version = subprocess.run([*arguments, "--version"], capture_output=True, text=True, env=environment, check=True)
        assert version.stdout.strip() == "hayabin, version 0.1.0"
