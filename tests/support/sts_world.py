"""A domain with MTA-STS: its record, its policy server, and an ``MtaSts`` that looks at both by a clock of the test's.

Promises: everything is right but for what a test says; nothing outlives the context. It does not fail.
"""

import contextlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from services.dispatcher.dns_lookup import DnsLookup
from services.dispatcher.mta_sts import FetchParameters, MtaSts, StoredPolicy, StsParameters
from tests.support.dns_zone import DnsZone, Zone
from tests.support.self_signed import Authority, Identity
from tests.support.sts_server import StsServer, response

DOMAIN = "example.jp"
HOST = f"mta-sts.{DOMAIN}"
CA = Authority()
GOOD = CA.identity([HOST])
DAY_S = 86_400


def text(mode: str = "enforce", *, mx: str = "mx.example.jp", max_age_s: int = 7 * DAY_S) -> str:
    """Write a policy."""
    return f"version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: {max_age_s}\n"


@dataclass
class Shelf:
    """A store in memory, as the table keeps it."""

    kept: dict[str, StoredPolicy] = field(default_factory=dict)

    async def load(self, domain: str) -> StoredPolicy | None:
        """Give what was saved."""
        return self.kept.get(domain)

    async def save(self, domain: str, stored: StoredPolicy) -> None:
        """Keep."""
        self.kept[domain] = stored


@dataclass
class World:
    """A domain with its record and policy server, and an ``MtaSts`` that looks at them."""

    zone: DnsZone
    server: StsServer
    parameters: StsParameters
    shelf: Shelf = field(default_factory=Shelf)
    now_s: float = 1_000_000.0

    def __post_init__(self) -> None:
        """Begin with nothing known."""
        self.restart()

    def restart(self) -> None:
        """Forget what only a process knows."""
        lookup = DnsLookup((f"127.0.0.1:{self.zone.port}",), timeout_s=0.4)
        self.sts = MtaSts(lookup, self.parameters, store=self.shelf, clock=lambda: self.now_s)

    def announce(self, policy_id: str | None) -> None:
        """Put a record with this id into the DNS, or take it out."""
        if policy_id is None:
            self.zone.zone.pop(f"_mta-sts.{DOMAIN}", None)
        else:
            self.zone.zone[f"_mta-sts.{DOMAIN}"] = {"TXT": f'"v=STSv1; " "id={policy_id};"'}

    async def mode(self, after_s: float = 0.0) -> str | None:
        """Give the mode in force, some time later."""
        self.now_s += after_s
        policy = await self.sts.policy(DOMAIN)
        return None if policy is None else policy.mode.value


@contextlib.asynccontextmanager
async def world_of(
    identity: Identity = GOOD, *, answer: bytes | None = None, ttl: int = 300, **fetch: object
) -> AsyncIterator[World]:
    """Give a world in which everything is right but for what is said."""
    body = response(text()) if answer is None else answer
    with tempfile.NamedTemporaryFile() as ca_file:
        Path(ca_file.name).write_bytes(CA.pem)
        zone: Zone = {DOMAIN: {"MX": "10 mx.example.jp."}, HOST: {"A": "127.0.0.1"}}
        async with StsServer(identity, body) as server, DnsZone(zone, ttl=ttl) as dns:
            parameters = {"port": server.port, "ca_file": ca_file.name, "allow_private": True, "timeout_s": 2.0} | fetch
            world = World(dns, server, StsParameters(fetch=FetchParameters(**parameters)))  # type: ignore[arg-type]
            world.announce("1")
            yield world
            await world.sts.close()
