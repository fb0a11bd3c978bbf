"""How much one remote side may ask of the inbound SMTP server.

Promises: never more connections in all, connections per peer, or mails per peer and minute than the limits say; what is
remembered of peers is bounded. A peer is an IPv4 address or an IPv6 /64, whose owner is free to choose the rest.
Fails: never; the answer is a ``Refusal`` or None.
"""

import ipaddress
from collections import Counter, OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

PEERS_MAX: Final = 10_000


class Refusal(StrEnum):
    """Why the inbound server turned something away; for counting."""

    TOO_MANY_CONNECTIONS = "too_many_connections"
    """The server has as many as it may have."""
    PEER_CONNECTIONS = "peer_connections"
    """That peer has as many as one peer may have."""
    PEER_RATE = "peer_rate"
    """That peer has sent its share of this minute."""
    UNKNOWN_RECIPIENT = "unknown_recipient"
    """No return path or role address of ours."""
    TOO_MUCH_DATA = "too_much_data"
    """The peer went on sending far beyond the size limit, and was cut off."""
    HANDLING_FAILED = "handling_failed"
    """We could not take the mail now; the peer keeps it and tries again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundLimits:
    """The bounds of the inbound server."""

    size_bytes: int = 1 << 20
    connections: int = 200
    connections_per_peer: int = 20
    mails_per_peer_per_minute: int = 600
    commands_per_connection: int = 1000
    """Of each kind: with more mails than this a peer has to connect again."""
    idle_timeout_s: float = 60.0
    """From one command to the next, and for the whole of DATA."""
    handling_timeout_s: float = 30.0
    """For taking a mail after its final dot; the peer waits ten minutes (RFC 5321 §4.5.3.2.6)."""


class PeerLimiter:
    """Counts what each peer has open and has sent; the clock is passed in."""

    def __init__(self, limits: InboundLimits) -> None:
        """Begin with no peer known."""
        self._limits = limits
        self._open: Counter[str] = Counter()
        self._allowance: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def connect(self, peer: str) -> Refusal | None:
        """Count a connection in, or say why it may not be."""
        if self._open.total() >= self._limits.connections:
            return Refusal.TOO_MANY_CONNECTIONS
        if self._open[peer] >= self._limits.connections_per_peer:
            return Refusal.PEER_CONNECTIONS
        self._open[peer] += 1
        return None

    def disconnect(self, peer: str) -> None:
        """Count a connection out that ``connect`` has let in."""
        self._open[peer] -= 1
        if self._open[peer] <= 0:
            del self._open[peer]

    def mail(self, peer: str, now_s: float) -> Refusal | None:
        """Count a mail (a token bucket that holds one minute's share), or say why it must wait.

        Units: ``now_s`` of a monotonic clock.
        """
        share = self._limits.mails_per_peer_per_minute
        left, since_s = self._allowance.pop(peer, (float(share), now_s))
        left = min(share, left + (now_s - since_s) * share / 60)
        admitted = left >= 1
        self._allowance[peer] = (left - 1 if admitted else left, now_s)
        if len(self._allowance) > PEERS_MAX:
            self._allowance.popitem(last=False)
        return None if admitted else Refusal.PEER_RATE


def peer_of(address: str) -> str:
    """What limits are counted by: an IPv4 address, the /64 of an IPv6 address, or the text where it is neither."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        mapped = ip.ipv4_mapped
        return str(mapped or ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)
