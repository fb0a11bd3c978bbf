"""Settings of the dispatcher."""

import ipaddress
from typing import NamedTuple, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from hayabin.settings import BrokerSettings, DatabaseSettings, Fragment, ProcessSettings
from services.dispatcher.egress import Proxy, parse_proxy


class Source(NamedTuple):
    """A source IP, the name that it says in EHLO (its PTR should say the same), and the proxy that owns it, if any."""

    ip: str
    ehlo_name: str
    proxy: Proxy | None = None


class OutwardSettings(Fragment):
    """How servers are found and reached: for the dispatcher, and for the commands that try it out."""

    pool: str = Field(default="", pattern=r"^([a-z0-9][a-z0-9-]{0,39})?$")
    """The IP pool."""
    source_ips: str = ""
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
    socks5_proxies: SecretStr = SecretStr("")
    """``ip=socks5://user:password@host:port`` pairs, separated by commas: source IPs that a proxy owns, not we."""
    dnssec: bool = False
    """The DNS servers validate and are reached safely, so their AD bit is believed: DANE needs it (RFC 7672 §2.1.3)."""
    mta_sts: bool = True
    """Keep to the MTA-STS policies of recipients' domains (RFC 8461)."""
    mta_sts_port: int = Field(default=443, ge=1, le=65535)
    """Where policies are fetched (tests)."""
    ca_file: str = ""
    """The CAs to trust for MTA-STS instead of the public ones."""

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

    @model_validator(mode="after")
    def _check_proxies(self) -> Self:
        own = {source.ip for source in _sources(self.source_ips)}
        if foreign := sorted(set(self.proxies) - own):
            raise ValueError(f"HAYABIN_SOCKS5_PROXIES names {', '.join(foreign)}, which HAYABIN_SOURCE_IPS does not")
        return self

    @property
    def proxies(self) -> dict[str, Proxy]:
        """The proxies by source IP."""
        return _proxies(self.socks5_proxies.get_secret_value())

    @property
    def sources(self) -> tuple[Source, ...]:
        """The source IPs."""
        proxies = self.proxies
        return tuple(source._replace(proxy=proxies.get(source.ip)) for source in _sources(self.source_ips))

    @property
    def resolvers(self) -> tuple[str, ...]:
        """The DNS servers to ask; empty: the system's."""
        return tuple(part.strip() for part in self.dns_servers.split(",") if part.strip())

    @property
    def retry_delays(self) -> tuple[int, ...]:
        """The pauses between attempts; empty: as the provider's policy says."""
        return _delays(self.retry_delays_s)


class CommandSettings(OutwardSettings):
    """What ``hayabin smtp`` and ``hayabin resolve`` take from a dispatcher's environment, as far as it is there."""

    database_url: SecretStr | None = None


class DispatcherSettings(OutwardSettings, DatabaseSettings, BrokerSettings, ProcessSettings):
    """What the dispatcher needs."""

    pool: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")
    """The IP pool that this dispatcher serves."""
    source_ips: str = Field(min_length=1)
    dispatch_prefetch: int = Field(default=6, ge=1, le=100)
    """Batches in hand for each lane's queue. Danger: bounds memory, about 50 mails a batch."""
    max_connections: int = Field(default=1000, ge=1)
    """SMTP connections of this process, all lanes together."""
    detached_mails: int = Field(default=2000, ge=0)
    """Mails for slow destinations that are taken over from their batches. Danger: bounds memory, all lanes together."""
    max_wait_s: float = Field(default=60, gt=0)
    """How long a mail waits here for its lane before it is given back to the ledger unattempted."""
    idle_s: float = Field(default=5, gt=0)
    """How long a connection without work stays open."""

    egress_probes: str = ""
    """``host:port`` of mail servers, separated by commas: each source IP must be greeted by one of them to be used."""
    egress_timeout_s: float = Field(default=10, gt=0)
    """How long such a greeting may take."""
    transcript_days: int = Field(default=7, ge=0, le=3650)
    """Days for which the SMTP transcript of each attempt is kept; 0: none is written."""

    @model_validator(mode="after")
    def _check_egress(self) -> Self:
        if not self.sources:
            raise ValueError("HAYABIN_SOURCE_IPS: at least one ip=ehlo.name is needed")
        _probes(self.egress_probes)
        return self

    @property
    def probes(self) -> tuple[tuple[str, int], ...]:
        """Host and port of the mail servers that must be reached."""
        return _probes(self.egress_probes)


def _sources(text: str) -> tuple[Source, ...]:
    sources = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        ip, separator, name = item.partition("=")
        if not separator or not name:
            raise ValueError(f"{item!r} is not ip=ehlo.name")
        sources.append(Source(str(ipaddress.ip_address(ip)), name))
    if len({source.ip for source in sources}) < len(sources):
        raise ValueError("an IP stands twice")
    return tuple(sources)


def _proxies(text: str) -> dict[str, Proxy]:
    proxies = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        ip, separator, url = item.partition("=")
        if not separator:
            raise ValueError("HAYABIN_SOCKS5_PROXIES has an item that is not ip=socks5://host:port")
        proxies[str(ipaddress.ip_address(ip))] = parse_proxy(url)
    return proxies


def _probes(text: str) -> tuple[tuple[str, int], ...]:
    probes = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        host, separator, port = item.rpartition(":")
        if not separator or not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
            raise ValueError(f"HAYABIN_EGRESS_PROBES: {item!r} is not host:port")
        probes.append((host.strip("[]"), int(port)))
    return tuple(probes)


def _delays(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part.strip())
