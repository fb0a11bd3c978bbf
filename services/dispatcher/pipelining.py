"""Which servers offered PIPELINING and did not keep it, for an hour.

Promises: bounded; a server that is named here is spoken to one command at a time, so that a mail which its last
connection could not deliver for this alone is delivered over the next. It cannot fail.
"""

from dataclasses import dataclass, field, replace
from typing import Final

from services.dispatcher.smtp_parameters import Peer
from services.dispatcher.smtp_transaction import Extensions

MEMORY_S: Final = 3600.0
MAX_SERVERS: Final = 4096


@dataclass(slots=True)
class BrokenOffers:
    """A memory of the process; by address and port, as the hosts behind one name need not be alike."""

    until_s: dict[tuple[str, int], float] = field(default_factory=dict)

    def note(self, peer: Peer, now_s: float) -> None:
        """Take note that this server did not keep it."""
        self.until_s.pop((peer.address, peer.port), None)
        if len(self.until_s) >= MAX_SERVERS:
            del self.until_s[next(iter(self.until_s))]  # the oldest
        self.until_s[peer.address, peer.port] = now_s + MEMORY_S

    def without(self, peer: Peer, offered: Extensions, now_s: float) -> Extensions:
        """Give what to make use of of what a server offers."""
        if self.until_s.get((peer.address, peer.port), now_s) > now_s:
            return replace(offered, pipelining=False)
        return offered


BROKEN_OFFERS: Final = BrokenOffers()
