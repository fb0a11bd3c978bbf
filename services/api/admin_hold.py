"""``hayabin admin hold | release | status``: stop everything, let it go on, see how it stands.

Promises: a hold stops the gate at once, pauses what is being sent and takes scheduled campaigns back, in one
transaction; a release starts no campaign: each goes on only when a person says so.
Fails: with exit code 1 and a sentence that says what to do.
"""

import asyncpg
import click

from hayabin.database import installation
from hayabin.database.installation import HoldReason
from hayabin.database.instances import DEAD_AFTER_S
from services.api.admin_database import on_database
from services.api.admission import why_held
from services.api.audit_trail import PLATFORM, note_admin

MAX_SHOWN = 50

_STATUS_SQL = """
SELECT epoch, pulse, identity, held_reason, held_at, belt_problem,
       EXTRACT(EPOCH FROM now() - pulsed_at)::float8 AS pulse_age_s,
       EXTRACT(EPOCH FROM now() - belt_seen_at)::float8 AS belt_age_s,
       (SELECT count(*) FROM outbox) AS outbox_rows,
       COALESCE(EXTRACT(EPOCH FROM now() - (SELECT min(created_at) FROM outbox)), 0)::float8 AS outbox_age_s
FROM installation"""

_INSTANCES_SQL = """
SELECT name, service, EXTRACT(EPOCH FROM now() - seen_at)::float8 AS age_s FROM instances ORDER BY service, name"""

_STOPPED_SQL = """
SELECT c.id, t.slug, c.name, c.state, c.state_reason FROM campaigns c JOIN tenants t ON t.id = c.tenant_id
WHERE c.state IN ('paused', 'failed') AND c.state_reason = ANY($1) ORDER BY c.id"""


@click.command()
@click.option("--reason", default="", help="Kept with the hold, for who looks at the status.")
def hold(reason: str) -> None:
    """Stop everything: nothing passes the gate, what is being sent pauses, scheduled campaigns are taken back."""
    note = " ".join(reason.split())
    if len(note) > 200 or not note.isprintable():
        raise click.ClickException("a reason has at most 200 printable characters")

    async def work(connection: asyncpg.Connection) -> None:
        async with connection.transaction():
            held = await connection.fetchval("SELECT held_reason FROM installation FOR UPDATE")
            if held:
                click.echo(f"It is held already. {why_held(held)}")
                return
            await installation.hold(connection, HoldReason.BY_OPERATOR)
            if note:
                await connection.execute("UPDATE installation SET held_reason = held_reason || ': ' || $1::text", note)
            stopped = await _stopped(connection)
            await note_admin(connection, PLATFORM, "hold", {"stopped": len(stopped)})
        click.echo("Held: nothing is sent until `hayabin admin release`.")
        _show(stopped)

    on_database(work)


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
def release(*, yes: bool) -> None:
    """End a hold; campaigns stay as the hold left them."""

    async def work(connection: asyncpg.Connection) -> None:
        held = await connection.fetchval("SELECT held_reason FROM installation")
        if not held:
            click.echo("Nothing is held.")
            return
        click.echo(why_held(held))
        _show(await _stopped(connection))
        if not yes:
            click.confirm("Release?", abort=True)
        async with connection.transaction():
            now_held = await connection.fetchval("SELECT held_reason FROM installation FOR UPDATE")
            if now_held != held:
                raise click.ClickException("the hold has changed meanwhile: look at it again")
            await installation.release(connection)
            await note_admin(connection, PLATFORM, "release", {})
        click.echo(
            "Released. Each campaign above waits for a person: resume what is paused; unschedule what is failed, then "
            "schedule it again."
        )

    on_database(work)


@click.command()
def status() -> None:
    """Show the pulse, the hold, the belt, the outbox and the processes."""

    async def work(connection: asyncpg.Connection) -> None:
        row = await connection.fetchrow(_STATUS_SQL)
        if row is None:
            raise click.ClickException("the installation has no row: run `hayabin admin migrate`")
        click.echo(f"epoch      {row['epoch']}")
        click.echo(f"pulse      {row['pulse']}, {row['pulse_age_s']:.1f} s ago")
        click.echo(f"identity   {row['identity'] or 'not known yet: no scheduler has run'}")
        held = f"{row['held_reason']}, since {row['held_at']:%Y-%m-%d %H:%M:%S %Z}" if row["held_reason"] else "no"
        click.echo(f"held       {held}")
        seen = "not seen yet" if row["belt_age_s"] is None else f"seen {row['belt_age_s']:.1f} s ago"
        click.echo(f"belt       {row['belt_problem'] or 'no problem'}, {seen}")
        click.echo(f"outbox     {row['outbox_rows']} rows, the oldest is {row['outbox_age_s']:.1f} s old")
        for found in await connection.fetch(_INSTANCES_SQL):
            dead = "" if found["age_s"] < DEAD_AFTER_S else "  taken for dead"
            click.echo(f"instance   {found['service']}  {found['name']}  {found['age_s']:.1f} s ago{dead}")
        if row["held_reason"]:
            click.echo(why_held(row["held_reason"]))

    on_database(work)


async def _stopped(connection: asyncpg.Connection) -> list[asyncpg.Record]:
    return list(await connection.fetch(_STOPPED_SQL, [reason.value for reason in HoldReason]))


def _show(stopped: list[asyncpg.Record]) -> None:
    """Name the campaigns that a hold stopped and nobody has taken up since."""
    click.echo(f"{len(stopped)} campaigns were stopped by a hold and wait for a person:")
    for row in stopped[:MAX_SHOWN]:
        click.echo(f"  {row['id']}  {row['slug']}  {row['name']}  {row['state']} ({row['state_reason']})")
    if len(stopped) > MAX_SHOWN:
        click.echo(f"  and {len(stopped) - MAX_SHOWN} more")
