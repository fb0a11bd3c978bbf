"""What operators name when they speak of lanes: source IPs, providers, MX hosts, host names, pools.

Promises: each comes out in the one form that the database and the dispatchers use, so that two spellings of an address
are one.
Fails: ``Problem`` 422 that points at the member; 404 for a pool of a path that is not there.
"""

import ipaddress
import re
from typing import Any

from hayabin.domain.lane import PROVIDERS, provider_of_mx
from hayabin.domain.policy import DEFAULT
from services.api.access import Db
from services.api.problems import Problem, not_found

MX = "mx:"
OTHER = "other"
ANY = "*"
_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*", re.ASCII)


def refused(pointer: str, message: str) -> Problem:
    """The problem of one member that is wrong; ``message`` may quote what the caller sent."""
    shown = message.encode(errors="replace").decode()[:300]
    return Problem(
        422,
        "invalid-request",
        "The request names what is not there, or is not what it should be.",
        errors=[{"pointer": pointer, "message": shown}],
    )


def source_ip_of(text: str, pointer: str) -> str:
    """The source IP that ``text`` is.

    Raises:
        Problem: 422 for what is no address that mail can come from.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise refused(pointer, "neither an IPv4 nor an IPv6 address") from error
    if isinstance(address, ipaddress.IPv6Address) and (address.scope_id or address.ipv4_mapped):
        raise refused(pointer, "an IPv6 address without a zone, and no IPv4 address in disguise")
    if address.is_multicast or address.is_unspecified or address == ipaddress.IPv4Address(2**32 - 1):
        raise refused(pointer, "an address that no mail can come from")
    return str(address)


def host_name_of(text: str, pointer: str) -> str:
    """The host name that ``text`` is, in lower case without a final dot; other scripts as A-labels.

    Raises:
        Problem: 422.
    """
    name = text.lower().rstrip(".")
    if _HOST.fullmatch(name) is None:
        raise refused(pointer, "not a host name such as mta1.example.jp (other scripts as xn--…)")
    return name


def lane_of(text: str, pointer: str) -> str:
    """The lane that ``text`` names: a provider, or ``mx:HOST`` for a destination of no provider.

    Raises:
        Problem: 422.
    """
    if text in PROVIDERS:
        return text
    if not text.startswith(MX):
        raise refused(pointer, f"one of {', '.join(PROVIDERS)}, or mx:HOST")
    host = host_name_of(text.removeprefix(MX), pointer)
    provider = provider_of_mx(host)
    if provider is not None:
        raise refused(pointer, f"this host is {provider}'s: name {provider}")
    return MX + host


def policy_of(text: str) -> str:
    """The provider of a policy's path, or ``default``.

    Raises:
        Problem: 404.
    """
    if text not in PROVIDERS and text != DEFAULT:
        raise not_found("provider: " + ", ".join((*PROVIDERS, DEFAULT)))
    return text


def warmup_lane_of(text: str) -> str:
    """The provider of a warm-up's path: one by name, ``other`` or ``*``.

    Raises:
        Problem: 404.
    """
    if text not in PROVIDERS and text not in (OTHER, ANY):
        raise not_found("provider: " + ", ".join((*PROVIDERS, OTHER, ANY)))
    return text


async def target_of(db: Db, pool: str | None, source_ip: str | None, provider: str | None) -> tuple[str | None, ...]:
    """Pool, source IP and lane of a body that names at least one of them, each checked.

    Raises:
        Problem: 422.
    """
    if pool is None and source_ip is None and provider is None:
        raise refused("#", "name at least one of pool, source_ip and provider")
    if pool is not None and not await db.fetchval("SELECT true FROM ip_pools WHERE name = $1", pool):
        raise refused("#/pool", "there is no such pool")
    return (
        pool,
        None if source_ip is None else source_ip_of(source_ip, "#/source_ip"),
        None if provider is None else lane_of(provider, "#/provider"),
    )


async def locked_pool(db: Db, name: str) -> dict[str, Any]:
    """The active pool of a path, held until the transaction ends.

    Raises:
        Problem: 404.
    """
    row = await db.fetchrow("SELECT name, state FROM ip_pools WHERE name = $1 AND state = 'active' FOR UPDATE", name)
    if row is None:
        raise not_found("active pool")
    return dict(row)
