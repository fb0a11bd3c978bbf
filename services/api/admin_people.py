"""``hayabin people``: one person's rights by command, in the database of HAYABIN_DATABASE_URL.

Promises: the same jobs as ``POST /v1/people/erase`` and ``/export``, done by the scheduler, and a line in the tenant's
audit log; what a command waits for, it waits for at most ``--wait`` seconds, and the job goes on by itself.
Fails: with exit code 1 and a sentence that says what to do.
"""

import asyncio
import time
from typing import Any

import asyncpg
import click
import orjson

from hayabin.database import erasing
from hayabin.domain.address import AddressInvalid, parse_address
from services.api.admin_database import on_database
from services.api.audit_trail import note_admin
from services.api.people_jobs.certificate import in_english, in_japanese
from services.api.people_jobs.jobs import Kind

POLL_S = 0.5


@click.group()
def people() -> None:
    """One person's rights: erase, export, certificates."""


@people.command("erase")
@click.argument("tenant")
@click.argument("email")
@click.option("--reason", default="", help="Such as the number of the person's request.")
@click.confirmation_option(prompt="This cannot be taken back. Erase the person?")
def erase(tenant: str, email: str, reason: str) -> None:
    """Erase one person everywhere; ask for the certificate when the job is completed."""

    async def work(connection: asyncpg.Connection) -> None:
        job_id = await _begun(connection, tenant, Kind.ERASE, email, reason)
        click.echo(f"Job {job_id}. Next: hayabin people certificate {tenant} {job_id}")

    on_database(work)


@people.command("export")
@click.argument("tenant")
@click.argument("email")
@click.option("--wait", "wait_s", default=600.0, show_default=True, help="Seconds to wait for the job.")
def export(tenant: str, email: str, wait_s: float) -> None:
    """Print everything that is held about one person, as JSON."""

    async def work(connection: asyncpg.Connection) -> None:
        job_id = await _begun(connection, tenant, Kind.EXPORT, email, "")
        row = await _finished(connection, job_id, wait_s)
        click.echo(bytes(row["result"]))

    on_database(work)


@people.command("certificate")
@click.argument("tenant")
@click.argument("job_id", type=int)
@click.option("--language", type=click.Choice(["ja", "en", "json"]), default="en", show_default=True)
@click.option("--wait", "wait_s", default=600.0, show_default=True, help="Seconds to wait for the job.")
def certificate(tenant: str, job_id: int, language: str, wait_s: float) -> None:
    """Print the certificate of an erasure."""

    async def work(connection: asyncpg.Connection) -> None:
        tenant_id = await _tenant(connection, tenant)
        found = "SELECT true FROM person_jobs WHERE id = $1 AND tenant_id = $2 AND kind = 'erase'"
        if not await connection.fetchval(found, job_id, tenant_id):
            raise click.ClickException(f"there is no erasure {job_id} of {tenant}")
        row = await _finished(connection, job_id, wait_s)
        issued: Any = row["certificate"] if isinstance(row["certificate"], dict) else orjson.loads(row["certificate"])
        text = {"ja": in_japanese, "en": in_english}.get(language)
        click.echo(text(issued) if text else orjson.dumps(issued, option=orjson.OPT_INDENT_2).decode())

    on_database(work)


async def _tenant(connection: asyncpg.Connection, slug: str) -> int:
    tenant_id = await connection.fetchval("SELECT id FROM tenants WHERE slug = $1", slug)
    if tenant_id is None:
        raise click.ClickException(f"there is no tenant {slug}: `hayabin admin create-tenant {slug}`")
    return int(tenant_id)


async def _begun(connection: asyncpg.Connection, slug: str, kind: Kind, email: str, reason: str) -> int:
    tenant_id = await _tenant(connection, slug)
    try:
        key = parse_address(email).key
    except AddressInvalid as error:
        raise click.ClickException(f"the address cannot be read: {error}") from error
    async with connection.transaction():
        [address_hash] = await erasing.hashes(connection, tenant_id, [key])
        job_id: int = await connection.fetchval(
            "INSERT INTO person_jobs (tenant_id, kind, address_key, hash, reason) VALUES ($1, $2, $3, $4, $5) "
            "RETURNING id",
            tenant_id,
            kind.value,
            key,
            address_hash,
            reason[:300],
        )
        await note_admin(connection, tenant_id, f"people_{kind}", {"job_id": job_id})
    return job_id


async def _finished(connection: asyncpg.Connection, job_id: int, wait_s: float) -> Any:
    """The row of a job once the scheduler has done it."""
    deadline = time.monotonic() + wait_s
    while True:
        row: Any = await connection.fetchrow(
            "SELECT state, error, certificate, result FROM person_jobs WHERE id = $1", job_id
        )
        if row["state"] == "failed":
            raise click.ClickException(row["error"])
        if row["state"] == "completed":
            return row
        if time.monotonic() >= deadline:
            raise click.ClickException(
                f"job {job_id} is still {row['state']}: is a scheduler running? It goes on by itself"
            )
        await asyncio.sleep(POLL_S)
