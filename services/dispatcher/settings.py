"""Settings of the dispatcher."""

import ipaddress
from typing import NamedTuple

from pydantic import Field, field_validator

from hayabin.settings import BrokerSettings, DatabaseSettings, ProcessSettings


class Source(NamedTuple):
    """A source IP and the name that it says in EHLO (its PTR should say the same)."""

    ip: str
    ehlo_name: str


class DispatcherSettings(DatabaseSettings, BrokerSettings, ProcessSettings):
    """What the dispatcher needs."""

    pool: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")
    """The IP pool that this dispatcher serves."""
    source_ips: str
    """``ip=ehlo.name`` pairs, separated by commas; each IP belongs to one dispatcher only."""
    smtp_port: int = Field(default=25, ge=1, le=65535)
    dns_servers: str = ""
    """``ip`` or ``ip:port``, separated by commas; the system's resolvers when empty."""
    allow_private_mx: bool = False
    """Deliver to MX hosts in loopback and private space (tests, demo, internal gateways)."""
    policy_dir: str = ""
    """A folder of TOML files that override the policies of providers."""
    retry_delays_s: str = ""
    """Pauses between attempts, separated by commas; overrides every policy (tests, demo)."""
    retry_max_age_s: int = Field(default=172_800, ge=1)
    """Age, from the launch on, past which a deferred mail expires."""
    dispatch_prefetch: int = Field(default=6, ge=1, le=100)
    """Batches in hand for each lane's queue. Danger: bounds memory, about 50 mails a batch."""
    max_connections: int = Field(default=500, ge=1)
    """SMTP connections of this process, all lanes together."""
    max_wait_s: float = Field(default=60, gt=0)
    """How long a mail waits here for its lane before it is given back to the ledger unattempted."""
    idle_s: float = Field(default=5, gt=0)
    """How long a connection without work stays open."""

    @field_validator("source_ips")
    @classmethod
    def _check_sources(cls, value: str) -> str:
        _sources(value)
        return value

    @field_validator("retry_delays_s")
    @classmethod
    def _check_delays(cls, value: str) -> str:
        _delays(value)
        return value

    @property
    def sources(self) -> tuple[Source, ...]:
        """The source IPs."""
        return _sources(self.source_ips)

    @property
    def resolvers(self) -> tuple[str, ...]:
        """The DNS servers to ask; empty: the system's."""
        return tuple(part.strip() for part in self.dns_servers.split(",") if part.strip())

    @property
    def retry_delays(self) -> tuple[int, ...]:
        """The pauses between attempts; empty: as the provider's policy says."""
        return _delays(self.retry_delays_s)


def _sources(text: str) -> tuple[Source, ...]:
    sources = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        ip, separator, name = item.partition("=")
        if not separator or not name:
            raise ValueError(f"{item!r} is not ip=ehlo.name")
        sources.append(Source(str(ipaddress.ip_address(ip)), name))
    if not sources:
        raise ValueError("at least one ip=ehlo.name is needed")
    if len({source.ip for source in sources}) < len(sources):
        raise ValueError("an IP stands twice")
    return tuple(sources)


def _delays(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part.strip())
