"""Proof that the source IPs are ours, before a single batch is taken.

Promises: every source IP was bound on this machine; the pool and its sources are written where the API shows them.
Fails: ``SourceUnavailable`` names the address; the process is not ready then and consumes nothing.
"""

import socket
from collections.abc import Sequence

from hayabin.database.engine import Pool
from services.dispatcher.settings import Source


class SourceUnavailable(Exception):
    """An IP of the pool cannot be bound here."""


def prove(sources: Sequence[Source]) -> None:
    """Bind a socket to each source IP.

    Raises:
        SourceUnavailable: see the module.
    """
    for source in sources:
        family = socket.AF_INET6 if ":" in source.ip else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((source.ip, 0))
            except OSError as error:
                raise SourceUnavailable(
                    f"{source.ip} is not an address of this machine ({error.strerror}); "
                    "HAYABIN_SOURCE_IPS must name addresses that this pod or host owns"
                ) from error


async def announce(pool: Pool, name: str, sources: Sequence[Source], dispatcher: str) -> None:
    """Write the pool and its sources."""
    await pool.execute("INSERT INTO ip_pools (name) VALUES ($1) ON CONFLICT DO NOTHING", name)
    await pool.execute(
        "INSERT INTO pool_sources (pool, address, ehlo_name, dispatcher) "
        "SELECT $1, a, e, $4 FROM unnest($2::text[], $3::text[]) AS s(a, e) ORDER BY a "
        "ON CONFLICT (pool, address) DO UPDATE SET ehlo_name = excluded.ehlo_name, dispatcher = excluded.dispatcher, "
        "seen_at = now()",
        name,
        [source.ip for source in sources],
        [source.ehlo_name for source in sources],
        dispatcher,
    )


async def share_providers(pool: Pool, learnt: dict[str, str]) -> None:
    """Write which provider runs the MX of which domain, for the renderers; empties ``learnt``."""
    if not learnt:
        return
    rows = sorted(learnt.items())
    learnt.clear()
    await pool.execute(
        "INSERT INTO recipient_domains (name, provider) SELECT * FROM unnest($1::text[], $2::text[]) "
        "ON CONFLICT (name) DO UPDATE SET provider = excluded.provider, seen_at = now()",
        [name for name, _ in rows],
        [provider for _, provider in rows],
    )
