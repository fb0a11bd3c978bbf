"""``hayabin audit``: verify, export and head, as an operator calls them."""

import asyncio
import json

import asyncpg
import pytest
from click.testing import CliRunner

from hayabin.database.engine import Database
from services.api.audit_trail import note_admin
from services.api.scheduler.audit_duty import link_lines
from services.standalone.command import hayabin


def invoke(database_url: str, *words: str) -> tuple[int, str]:
    """Run the command in this process; its status and what it says."""
    result = CliRunner().invoke(hayabin, ["audit", *words], env={"HAYABIN_DATABASE_URL": database_url})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output.strip()


@pytest.fixture
def two_tenants(database_url: str) -> str:
    """Tenants `acme` with three linked lines and one that is not, `other` with one, and one of the platform."""

    async def fill() -> None:
        async with Database(database_url, name="test", size=2) as database:
            pool = database.pool
            for slug in ("acme", "other"):
                await pool.execute("INSERT INTO tenants (slug, name) VALUES ($1, $1)", slug)
            acme, other = [row["id"] for row in await pool.fetch("SELECT id FROM tenants WHERE id > 0 ORDER BY id")]
            async with pool.acquire() as connection:
                for number, tenant_id in enumerate((acme, acme, acme, other, 0)):
                    await note_admin(connection, tenant_id, "createKey", {"number": number, "scopes": ["=a"]})
                await link_lines(pool)
                await note_admin(connection, acme, "revokeKey", {})

    asyncio.run(fill())
    return database_url


def test_verify_says_what_holds_and_where_it_does_not(two_tenants: str) -> None:
    """All logs are looked at, the broken one is named with its line, and the status is 1."""
    status, said = invoke(two_tenants, "verify", "--all")
    assert status == 0
    assert [line.split(";")[0] for line in said.splitlines()] == [
        "-: 1 lines hold", "acme: 3 lines hold", "other: 1 lines hold",
    ]  # fmt: skip
    assert "1 not linked yet" in said
    _, head = invoke(two_tenants, "head", "acme")
    anchor = head.split()[1]
    assert invoke(two_tenants, "verify", "acme", "--anchor", anchor)[0] == 0

    async def tamper() -> None:
        connection = await asyncpg.connect(two_tenants)
        await connection.execute("ALTER TABLE audit_log DISABLE TRIGGER append_only")
        await connection.execute("DELETE FROM audit_log WHERE seq = 3")
        await connection.close()

    asyncio.run(tamper())
    status, said = invoke(two_tenants, "verify", "--all")
    assert (status, "acme: BROKEN at line 3 (missing)" in said, "other: 1 lines hold" in said) == (1, True, True)
    status, said = invoke(two_tenants, "verify", "acme")
    assert (status, "compare with a backup" in said) == (1, True)


def test_export_prints_each_line_once(two_tenants: str) -> None:
    """NDJSON for programs, CSV for spreadsheets."""
    status, said = invoke(two_tenants, "export", "acme")
    lines = [json.loads(line) for line in said.splitlines()]
    assert (status, [line["seq"] for line in lines]) == (0, [1, 2, 3, None])
    assert (lines[0]["actor"], lines[0]["detail"]) == ("operator", {"number": 0, "scopes": ["=a"]})
    status, said = invoke(two_tenants, "export", "-", "--format", "csv")
    assert (status, len(said.splitlines())) == (0, 2)


def test_what_operators_do_to_the_installation_is_in_the_log_of_the_platform(two_tenants: str) -> None:
    """A hold, its release and a suspension have their lines, without the words that were given as reason."""
    env = {"HAYABIN_DATABASE_URL": two_tenants}
    for words in (
        ("hold", "--reason", "ask Hanako"), ("release", "--yes"),
        ("suspend", "--provider", "gmail", "--reason", "ask Hanako"), ("resume", "--provider", "gmail"),
    ):  # fmt: skip
        assert CliRunner().invoke(hayabin, ["admin", *words], env=env).exit_code == 0
    _, said = invoke(two_tenants, "export", "-")
    lines = [json.loads(line) for line in said.splitlines()][1:]
    assert [line["action"] for line in lines] == ["hold", "release", "suspendLanes", "resumeLanes"]
    assert lines[2]["detail"]["provider"] == "gmail"
    assert "Hanako" not in said


def test_wrong_words_are_answered_with_what_to_say(two_tenants: str) -> None:
    """No traceback: which tenant, which anchor."""
    for words, hint in (
        (("verify",), "name a tenant"),
        (("verify", "acme", "--all"), "name a tenant"),
        (("verify", "nobody"), "no tenant nobody"),
        (("verify", "acme", "--anchor", "3"), "SEQ:HASH"),
        (("head",), "name a tenant"),
        (("export", "nobody"), "no tenant nobody"),
    ):
        status, said = invoke(two_tenants, *words)
        assert status != 0
        assert hint in said
