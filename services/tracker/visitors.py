"""Who is at the other end of a request: address and browser, as evidence and for limits.

Promises: an address that a client only claims is believed as far as our own proxies go: of X-Forwarded-For the entry
furthest to the right that is none of theirs counts, and only where one of them brought the request. What is kept is
bounded.
Fails: never for a request; what is no address is the empty text. ``ValueError`` for networks that are none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from starlette.requests import Request

USER_AGENT_MAX_CHARS: Final = 300
ADDRESS_MAX_CHARS: Final = 60

Network = IPv4Network | IPv6Network


def networks_of(text: str) -> tuple[Network, ...]:
    """The networks in a list with commas.

    Raises:
        ValueError: one is none.
    """
    return tuple(ip_network(word.strip()) for word in text.split(",") if word.strip())


@dataclass(frozen=True, slots=True)
class Visitors:
    """Tells who asks."""

    trusted: Sequence[Network] = ()

    def ip(self, request: Request) -> str:
        """The address that a request comes from."""
        found = _address(request.client.host if request.client else "")
        if found is None or not self._is_ours(found):
            return "" if found is None else str(found)
        words = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
        for word in reversed([word for word in words if word.strip()]):
            claimed = _address(word)
            if claimed is None:
                return ""
            if not self._is_ours(claimed):
                return str(claimed)
        return str(found)

    def _is_ours(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self.trusted)

    @staticmethod
    def network(ip: str) -> str:
        """What one household has at the least: an IPv4 address, or a /64 of IPv6."""
        return str(ip_network(f"{ip}/64", strict=False)) if ":" in ip else ip

    @staticmethod
    def user_agent(request: Request) -> str:
        """What the browser calls itself, printable and bounded."""
        said = request.headers.get("user-agent", "")[:USER_AGENT_MAX_CHARS]
        return "".join(character if character.isprintable() else " " for character in said)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address as proxies write it, with or without a port; an IPv4 one that is mapped into IPv6 as IPv4."""
    text = text.strip()[:ADDRESS_MAX_CHARS]
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found
