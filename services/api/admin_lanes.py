"""``hayabin admin lanes | suspend | resume``: the delivery engine from a shell, when there is no time to find a key.

Promises: the same statements as the REST API, with the same effect within two seconds.
Fails: as ``hayabin admin`` does; a name that is not there is said, nothing is changed then.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import click

from services.api.admin_database import on_database
from services.api.audit_trail import PLATFORM, note_admin
from services.api.lane_targets import target_of
from services.api.problems import Problem
from services.api.routes.lanes import LANES_SQL, LIVE_S
from services.api.routes.suspensions import LONGEST_S, RESUME_SQL, SUSPEND_SQL

_MOST_LANES = 1000
_Target = tuple[str | None, ...]


def _target_options(command: Callable[..., None]) -> Callable[..., None]:
    for name, text in (("provider", "A provider, or mx:HOST."), ("source-ip", "An address."), ("pool", "A pool.")):
        command = click.option(f"--{name}", help=text)(command)
    return command


def _on_target(given: dict[str, str | None], work: Callable[[asyncpg.Connection, _Target], Awaitable[None]]) -> None:
    async def run(connection: asyncpg.Connection) -> None:
        try:
            target = await target_of(connection, given["pool"], given["source_ip"], given["provider"])
        except Problem as problem:
            words = "; ".join(f"{error['pointer'][2:]}: {error['message']}" for error in problem.errors)
            raise click.ClickException(words.removeprefix(": ")) from problem
        await work(connection, target)

    on_database(run)


def _named(given: dict[str, str | None]) -> dict[str, str]:
    return {name: text for name, text in given.items() if text}


def _shown(row: asyncpg.Record) -> str:
    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:g}"

    until = f"until {row['next_try_at']:%Y-%m-%d %H:%M:%S %Z}" if row["next_try_at"] else ""
    return (
        f"{row['pool']:<10} {row['source_ip']:<15} {row['lane']:<20} {row['state']:<10} "
        f"{number(row['connections']):>4}/{number(row['connection_limit']):<4} {number(row['begun_per_s']):>7}/s "
        f"{number(row['waiting']):>7} waiting  {row['reason']} {until}"
    ).rstrip()


@click.command("lanes")
@click.option("--pool", help="Lanes of this pool alone.")
@click.option("--state", help="Lanes in this state alone, such as suspended.")
def lanes(pool: str | None, state: str | None) -> None:
    """Show the lanes: state, connections of their limit, rate, what waits, why and until when."""

    async def work(connection: asyncpg.Connection) -> None:
        rows = await connection.fetch(LANES_SQL, LIVE_S, pool, None, None, state, "", "", "", _MOST_LANES)
        for row in rows:
            click.echo(_shown(row))
        if not rows:
            click.echo("No lane is in use.")

    on_database(work)


@click.command("suspend")
@_target_options
@click.option("--reason", required=True, help="For whoever asks why nothing is sent.")
@click.option("--for-s", type=click.IntRange(1, LONGEST_S), help="Seconds; until it is resumed if not given.")
def suspend(reason: str, for_s: int | None, **given: Any) -> None:
    """Let nothing begin from a pool, from a source IP, to a provider, or where those given meet."""
    until = None if for_s is None else datetime.now(UTC) + timedelta(seconds=for_s)

    async def work(connection: asyncpg.Connection, target: _Target) -> None:
        async with connection.transaction():
            number = await connection.fetchval(SUSPEND_SQL, *target, reason, until)
            await note_admin(connection, PLATFORM, "suspendLanes", {**_named(given), "made": number})
        click.echo(f"Suspended, as number {number}.")

    _on_target(given, work)


@click.command("resume")
@_target_options
def resume(**given: Any) -> None:
    """Lift the suspensions of exactly this target and of its parts, by whomever."""

    async def work(connection: asyncpg.Connection, target: _Target) -> None:
        async with connection.transaction():
            rows = await connection.fetch(RESUME_SQL, *target)
            await note_admin(connection, PLATFORM, "resumeLanes", {**_named(given), "counts": {"lifted": len(rows)}})
        for row in rows:
            named = " ".join(f"{name}={row[name]}" for name in ("pool", "source_ip", "provider") if row[name])
            click.echo(f"Lifted {named}, by {row['origin']}: {row['reason']}")
        if not rows:
            click.echo("Nothing of this was suspended.")

    _on_target(given, work)
