"""``hayabin people``: the rights of one person by command."""

import asyncio
import json
from contextlib import suppress

import pytest
from click.testing import CliRunner, Result

from hayabin.database.engine import Database
from services.api.admin_people import people
from services.api.people_jobs.runner import run_next_person_job
from tests.integration.api.rest import Client, done

EMAIL = "hanako@example.jp"


async def commanded(database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch, *words: str) -> Result:
    """What a command comes to while a scheduler is at work beside it."""
    monkeypatch.setenv("HAYABIN_DATABASE_URL", database_url)
    monkeypatch.setattr("services.api.admin_people.POLL_S", 0.02)
    command = asyncio.create_task(asyncio.to_thread(CliRunner().invoke, people, list(words)))
    while not command.done():
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(command), 0.05)
        await run_next_person_job(database, "test")
    return await command


async def test_people_are_exported_and_erased_by_command(
    client: Client, database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The document is printed; the erasure asks first, and its certificate is printed in each language."""
    await done(await client.post("/v1/contacts", json={"email": EMAIL, "name": "田中 花子"}), 201)
    exported = await commanded(database, database_url, monkeypatch, "export", "acme", EMAIL)
    printed = exported.stdout[exported.stdout.index("{\n") :]  # behind what the scheduler, in this process, logs
    assert json.JSONDecoder().raw_decode(printed)[0]["contacts"][0]["name"] == "田中 花子"
    asked = await commanded(database, database_url, monkeypatch, "erase", "acme", EMAIL)
    assert asked.exit_code == 1
    assert await database.pool.fetchval("SELECT count(*) FROM contacts") == 1
    begun = await commanded(database, database_url, monkeypatch, "erase", "acme", EMAIL, "--reason", "r1", "--yes")
    assert "hayabin people certificate acme 2" in begun.stdout
    for language, word in (("ja", "消去証明書"), ("en", "Certificate of erasure"), ("json", "sha256")):
        shown = await commanded(database, database_url, monkeypatch, "certificate", "acme", "2", "--language", language)
        assert word in shown.stdout, shown.output
    assert await database.pool.fetchval("SELECT count(*) FROM contacts") == 0
    lines = await database.pool.fetchval("SELECT count(*) FROM audit_pending WHERE action LIKE 'people_%'")
    assert lines == 2


async def test_commands_say_what_is_wrong(
    client: Client, database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown tenant, no address, no such job: exit code 1 and a sentence."""
    assert client
    for words, sentence in (
        (("export", "nobody", EMAIL), "there is no tenant"),
        (("export", "acme", "x"), "cannot be read"),
        (("certificate", "acme", "9"), "there is no erasure 9"),
    ):
        result = await commanded(database, database_url, monkeypatch, *words)
        assert result.exit_code == 1
        assert sentence in result.output
