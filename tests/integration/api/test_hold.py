"""``hayabin admin hold | release | status``: what an operator is shown, asked and told."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg
from click.testing import CliRunner

from hayabin.database import installation
from hayabin.database.installation import Mark
from services.standalone.command import hayabin

T = TypeVar("T")

_CAMPAIGNS_SQL = """
WITH t AS (INSERT INTO tenants (slug, name) VALUES ('acme', 'acme') RETURNING id),
     p AS (INSERT INTO ip_pools (name) VALUES ('main') RETURNING name),
     d AS (INSERT INTO domains (tenant_id, name) SELECT id, 'x.example' FROM t RETURNING id, tenant_id),
     m AS (INSERT INTO templates (tenant_id, name) SELECT id, 't' FROM t RETURNING id),
     v AS (INSERT INTO template_versions (template_id, number, kind, subject, source, compiled)
           SELECT id, 1, 'html', 's', 'x', '{}' FROM m RETURNING id)
INSERT INTO campaigns (tenant_id, name, state, template_version_id, domain_id, from_name, from_address, pool)
SELECT d.tenant_id, s, s, v.id, d.id, 'n', 'n@x.example', p.name
FROM d, v, p, unnest(ARRAY['sending', 'scheduled', 'draft', 'paused']) s"""


def invoke(database_url: str, *words: str, typed: str | None = None) -> tuple[int, str]:
    """Run the command in this process; its status and what it says."""
    result = CliRunner().invoke(hayabin, ["admin", *words], env={"HAYABIN_DATABASE_URL": database_url}, input=typed)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output.strip()


def on(database_url: str, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
    """Do some work on a connection."""

    async def run() -> T:
        connection = await asyncpg.connect(database_url)
        try:
            async with connection.transaction():
                return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(run())


def states(database_url: str) -> dict[str, tuple[str, str]]:
    """Each campaign's state and its reason, by name."""
    rows = on(database_url, lambda c: c.fetch("SELECT name, state, state_reason FROM campaigns"))
    return {row["name"]: (row["state"], row["state_reason"]) for row in rows}


def test_hold_stops_everything_and_release_starts_nothing(database_url: str) -> None:
    """What was sending is paused, what was scheduled taken back, and so they stay; a release asks first."""
    on(database_url, lambda c: c.execute(_CAMPAIGNS_SQL))
    status, said = invoke(database_url, "hold", "--reason", "moving the database")
    assert status == 0, said
    assert "2 campaigns" in said
    held = {
        "sending": ("paused", "by_operator"), "scheduled": ("failed", "by_operator"), "draft": ("draft", ""),
        "paused": ("paused", ""),
    }  # fmt: skip
    assert states(database_url) == held
    assert "moving the database" in invoke(database_url, "status")[1]
    again = invoke(database_url, "hold")
    assert (again[0], "held already" in again[1]) == (0, True)

    status, said = invoke(database_url, "release", typed="n\n")
    assert status == 1
    assert "moving the database" in said
    assert on(database_url, lambda c: c.fetchval("SELECT held_reason FROM installation")) != ""
    status, said = invoke(database_url, "release", typed="y\n")
    assert status == 0, said
    assert all(word in said for word in ("acme", "sending  paused", "scheduled  failed", "resume", "unschedule"))
    assert on(database_url, lambda c: c.fetchval("SELECT held_reason FROM installation")) == ""
    assert states(database_url) == held
    assert invoke(database_url, "release")[1] == "Nothing is held."


def test_release_of_a_restored_database_says_what_is_at_stake(database_url: str) -> None:
    """The reason is told in words, and --yes asks nothing."""
    on(database_url, lambda c: installation.beat(c, belt_problem="", known=Mark(1, 500)))
    status, said = invoke(database_url, "release", "--yes")
    assert (status, "earlier state" in said, "[y/N]" in said) == (0, True, False)


def test_hold_refuses_a_reason_that_cannot_be_shown(database_url: str) -> None:
    """A reason is one printable line of bounded length; nothing is held by a wrong one."""
    assert invoke(database_url, "hold", "--reason", "x" * 201)[0] == 1
    assert invoke(database_url, "hold", "--reason", "a\x1b[31m")[0] == 1
    assert invoke(database_url, "release")[1] == "Nothing is held."


def test_status_shows_pulse_belt_outbox_and_processes(database_url: str) -> None:
    """Everything that decides whether mail goes out is on one screen."""

    async def work(connection: asyncpg.Connection) -> None:
        await installation.beat(connection, belt_problem="blocked: low on memory", known=None)
        await connection.execute(
            "INSERT INTO outbox (exchange, routing_key, body, created_at) VALUES "
            "('x', 'y', '', now() - interval '90 seconds'), ('x', 'y', '', now())"
        )
        await connection.execute(
            "INSERT INTO instances (name, service, seen_at) VALUES ('d-1', 'dispatcher', now()), "
            "('d-2', 'dispatcher', now() - interval '1 hour')"
        )

    before = invoke(database_url, "status")
    assert (before[0], "no scheduler has run" in before[1]) == (0, True)
    on(database_url, work)
    status, said = invoke(database_url, "status")
    assert status == 0
    lines = dict(line.split(None, 1) for line in said.splitlines() if not line.startswith("instance"))
    assert lines["epoch"] == "1"
    assert lines["pulse"].startswith("1, ")
    assert lines["held"] == "no"
    assert lines["belt"].startswith("blocked: low on memory, seen ")
    assert lines["outbox"].startswith("2 rows, the oldest is 9")
    assert [("taken for dead" in line) for line in said.splitlines() if line.startswith("instance")] == [False, True]


def test_commands_without_a_database_say_so(database_url: str) -> None:
    """A database that cannot be had is a sentence, not a traceback, within seconds."""
    nowhere = database_url.replace(database_url.rpartition("@")[2], "127.0.0.1:1/x")
    for word in ("hold", "release", "status"):
        status, said = invoke(nowhere, word)
        assert (status, "cannot be had" in said) == (1, True)
