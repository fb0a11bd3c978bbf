"""Proof that the source IPs are ours, before a single batch is taken and for as long as we are ready.

Promises: every source IP was bound on this machine, or belongs to a proxy that lets us in; where there are probes, a
mail server greeted a connection from it; the pool and its sources are written where the API shows them.
Fails: ``SourceUnavailable`` names the address and why; the process is not ready then and consumes nothing.
"""

import asyncio
import contextlib
import re
import socket
from collections.abc import Sequence
from typing import Final

from hayabin.database.engine import Pool
from services.dispatcher.egress import EgressFailed, Proxy, check_proxy, connected_socket, words
from services.dispatcher.settings import Source

Probe = tuple[str, int]
"""Host (name or address) and port of a mail server that greets everybody."""

_GREETING_BYTES: Final = 512
_MESSAGE_CHARS: Final = 600
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


class SourceUnavailable(Exception):
    """An IP of the pool cannot be used here."""


def prove_bind(source_ip: str) -> None:
    """Bind a socket to a source IP.

    Raises: SourceUnavailable
    """
    family = socket.AF_INET6 if ":" in source_ip else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((source_ip, 0))
        except OSError as error:
            raise SourceUnavailable(
                f"{source_ip} is not an address of this machine ({error.strerror}); "
                "HAYABIN_SOURCE_IPS must name addresses that this pod or host owns"
            ) from error


async def prove(source_ip: str, proxy: Proxy | None, probes: Sequence[Probe], timeout_s: float) -> None:
    """Prove one source IP: it can be bound, or its proxy lets us in; and one of the probes, if any, greets it.

    The probes are asked at the same time, and ``timeout_s`` bounds the whole.

    Raises: SourceUnavailable
    """
    if proxy is None:
        prove_bind(source_ip)
    elif not probes:
        try:
            await check_proxy(proxy, timeout_s)
        except OSError as error:
            raise SourceUnavailable(f"{source_ip} cannot be used: {error}") from error
    if not probes:
        return
    asked = [asyncio.create_task(_greeted(source_ip, proxy, probe, timeout_s)) for probe in probes]
    failures = []
    try:
        for answer in asyncio.as_completed(asked):
            failure = await answer
            if failure is None:
                return
            failures.append(failure)
    finally:
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    raise SourceUnavailable(f"{source_ip} does not reach out: {'; '.join(failures)}"[:_MESSAGE_CHARS])


async def prove_all(sources: Sequence[tuple[str, Proxy | None]], probes: Sequence[Probe], timeout_s: float) -> None:
    """Prove each source IP, one after the other.

    Raises: SourceUnavailable for the first that cannot be used.
    """
    for source_ip, proxy in sources:
        await prove(source_ip, proxy, probes, timeout_s)


async def _greeted(source_ip: str, proxy: Proxy | None, probe: Probe, timeout_s: float) -> str | None:
    """Say why a mail server does not greet a connection from this IP; None if it does."""
    host, port = probe
    try:
        async with asyncio.timeout(timeout_s):
            address = await _address(host, port, source_ip)
            with await connected_socket(source_ip, proxy, address, port, timeout_s) as connection:
                greeting = await _first_line(connection)
                with contextlib.suppress(OSError):
                    await asyncio.get_running_loop().sock_sendall(connection, b"QUIT\r\n")
    except TimeoutError:
        return f"{host}:{port} did not greet within {timeout_s:g} s"
    except EgressFailed as error:
        return f"{host}:{port}: {error}"
    except OSError as error:
        return f"{host}:{port}: {words(error)}"
    if greeting[:3] == b"220":
        return None
    said = _UNPRINTABLE.sub("?", greeting.decode("latin-1").rstrip("\r\n"))[:200]
    return f"{host}:{port} said {said!r}" if said else f"{host}:{port} closed without a greeting"


async def _address(host: str, port: int, source_ip: str) -> str:
    """Give the first address of the host that is of the family of the source IP."""
    family = socket.AF_INET6 if ":" in source_ip else socket.AF_INET
    found = await asyncio.get_running_loop().getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
    return str(found[0][4][0])


async def _first_line(connection: socket.socket) -> bytes:
    """Read up to the first line end, or as much as a greeting may have."""
    line = b""
    while b"\n" not in line and len(line) < _GREETING_BYTES:
        piece = await asyncio.get_running_loop().sock_recv(connection, _GREETING_BYTES - len(line))
        if not piece:
            break
        line += piece
    return line.partition(b"\n")[0]


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
