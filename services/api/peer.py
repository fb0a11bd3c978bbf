"""Whence a request comes, and whether a key may be used from there.

Promises: the address is the one of the socket. Only where that is a proxy of ours (``HAYABIN_TRUSTED_PROXIES``) is
X-Forwarded-For believed, from its right end up to the first address that is no such proxy: what stands left of that
anybody can write. An IPv4 address in IPv6 clothes (``::ffff:192.0.2.1``) is the IPv4 address.
Fails: what cannot be read is no address, and a key that is bound to networks is refused.
"""

import ipaddress
from collections.abc import Sequence

from fastapi import Request

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def networks_of(texts: Sequence[str]) -> tuple[Network, ...]:
    """The networks; a single address is a network of one.

    Raises: ValueError, naming the one that is none, or that has bits set behind its prefix.
    """
    return tuple(ipaddress.ip_network(text.strip()) for text in texts)


def _address(text: str) -> Address | None:
    """An address as proxies write it, with or without a port."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def within(address: str, networks: Sequence[Network]) -> bool:
    """Whether an address is in one of the networks; what is no address is in none."""
    found = _address(address)
    return found is not None and any(found in network for network in networks)


def peer_of(request: Request, trusted: Sequence[Network]) -> str:
    """The caller's address; empty where it cannot be known."""
    peer = request.client.host if request.client else ""
    if not within(peer, trusted):
        return _shown(peer)
    forwarded = [word for line in request.headers.getlist("x-forwarded-for") for word in line.split(",")]
    for word in reversed(forwarded):
        if not within(word, trusted):
            return _shown(word)
    return _shown(peer)  # a proxy of ours asks by itself


def _shown(word: str) -> str:
    found = _address(word)
    return "" if found is None else str(found)
