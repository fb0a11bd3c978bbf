"""``hayabin resolve``: what Hayabin would do with mail to an address, and when.

Promises: nothing is sent, nothing is written; of people only the address asked for is shown. What is not given by an
option is taken from a dispatcher's environment, as far as it is there; without a database it says what is not known.
Fails: with exit code 1 where no mail would go without somebody's doing, or the database cannot be had; 2 for options
that cannot be.
"""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, cast

import asyncpg
import click

from hayabin.database.engine import Pool, open_pool
from hayabin.domain.address import Address
from hayabin.domain.lane import MessageClass
from services.dispatcher.kept_knowledge import Kept, KnownSource, pools_in_use, read_kept
from services.dispatcher.prospects import When
from services.dispatcher.resolution import Asked, Resolution, parsed
from services.dispatcher.resolution_text import as_text
from services.dispatcher.settings import CommandSettings
from services.dispatcher.way_finding import Ways, run, servers_of, settings, way_finder

_TROUBLE: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


@click.command("resolve")
@click.argument("address")
@click.option(
    "--class",
    "message_class",
    type=click.Choice(["bulk", "transactional"]),
    default="bulk",
    show_default=True,
    help="The class of the mail.",
)
@click.option("--pool", help="The IP pool. Default: HAYABIN_POOL, or the only one of the database.")
@click.option("--dns", help="DNS servers, ip or ip:port, by commas. Default: HAYABIN_DNS_SERVERS, or the system's.")
@click.option("--policy-dir", help="Folder of policies over the shipped ones. Default: HAYABIN_POLICY_DIR, or none.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def resolve(address: str, message_class: str, as_json: bool, **given: Any) -> None:
    """Print what would be done with mail to ADDRESS: MX, provider, lane, limits, TLS, and when it would be sent.

    With HAYABIN_DATABASE_URL it knows suspensions, warm-ups, policies by API, reports of lanes and suppressions.
    Private MX hosts, DNSSEC, MTA-STS, source IPs and pauses between attempts are as HAYABIN_ALLOW_PRIVATE_MX,
    HAYABIN_DNSSEC, HAYABIN_MTA_STS, HAYABIN_SOURCE_IPS and HAYABIN_RETRY_DELAYS_S say, if they are there.
    """
    kept = settings()
    found = parsed(address)
    if isinstance(found, Address):
        asked = Asked(
            address=address,
            message_class=cast("MessageClass", message_class),
            pool=given["pool"] or kept.pool,
            sources=tuple(KnownSource(source.ip, source.ehlo_name) for source in kept.sources),
            delays_s=kept.retry_delays,
            max_age_s=kept.retry_max_age_s,
        )
        answer = run(_resolved(asked, found, kept, given))
    else:
        answer = found
    if as_json:
        click.echo(json.dumps(answer, ensure_ascii=False, indent=2))
    else:
        for line in as_text(answer):
            click.echo(line)
    if answer["when"]["state"] not in (When.NOW, When.AT):
        sys.exit(1)


async def _resolved(asked: Asked, address: Address, kept: CommandSettings, given: dict[str, Any]) -> dict[str, Any]:
    try:
        async with _database(kept) as database:
            known = None
            if database is not None:
                asked = replace(asked, pool=asked.pool or await _only_pool(database))
                async with database.acquire() as connection:
                    known = await read_kept(connection, asked.pool, address.domain, address.key)
            return await _found(asked, address, known, database, _ways(asked, known, kept, given))
    except asyncpg.UndefinedTableError as error:
        raise click.ClickException("the database has no schema: run `hayabin admin migrate`") from error
    except _TROUBLE as error:
        raise click.ClickException(f"the database of HAYABIN_DATABASE_URL cannot be had: {error!r}") from error


async def _found(
    asked: Asked, address: Address, known: Kept | None, database: Pool | None, ways: Ways
) -> dict[str, Any]:
    finder = way_finder(ways)
    try:
        return await Resolution(asked, address, finder, known, database).answer()
    finally:
        await finder.close()


def _ways(asked: Asked, known: Kept | None, kept: CommandSettings, given: dict[str, Any]) -> Ways:
    sources = asked.sources if known is None else known.sources
    return Ways(
        servers=servers_of(given["dns"], kept),
        port=kept.smtp_port,
        dnssec=kept.dnssec,
        mta_sts=kept.mta_sts,
        allow_private=kept.allow_private_mx,
        ipv6=any(":" in source.ip for source in sources),
        policy_dir=given["policy_dir"] or kept.policy_dir,
        ca_file=kept.ca_file,
        mta_sts_port=kept.mta_sts_port,
    )


@asynccontextmanager
async def _database(kept: CommandSettings) -> AsyncIterator[Pool | None]:
    if kept.database_url is None or not kept.database_url.get_secret_value():
        yield None
        return
    pool = await open_pool(kept.database_url.get_secret_value(), name="resolve", size=1)
    try:
        yield pool
    finally:
        await pool.close()


async def _only_pool(database: Pool) -> str:
    async with database.acquire() as connection:
        names = await pools_in_use(connection)
    if len(names) == 1:
        return names[0]
    there = f"one of {', '.join(names)}" if names else "but the database has none: hayabin admin create-pool"
    raise click.ClickException(f"name the pool with --pool: {there}")
