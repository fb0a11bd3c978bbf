"""Settings of the API."""

from typing import Annotated

from pydantic import AfterValidator, Field

from hayabin.settings import (
    BrokerSettings,
    DatabaseSettings,
    ProcessSettings,
    PublicSettings,
    SealingSettings,
    TokenSettings,
)
from services.api.peer import Network, networks_of


def _networks(text: str) -> str:
    networks_of(words_of(text))
    return text


def words_of(text: str) -> list[str]:
    """The words between commas."""
    return [word for word in text.split(",") if word.strip()]


Networks = Annotated[str, AfterValidator(_networks)]


class ApiSettings(DatabaseSettings, BrokerSettings, TokenSettings, SealingSettings, PublicSettings, ProcessSettings):
    """What ``serve`` needs."""

    http_host: str = "0.0.0.0"
    http_port: int = Field(default=8080, ge=0, le=65535)
    dns_servers: str = ""
    """``ip`` or ``ip:port``, separated by commas, for the check of domains; the system's resolvers when empty."""
    bounce_hostname: str = ""
    """Name of the bounce service's host, for the MX of the return path; the return-path domain when empty."""
    rate_per_s: float = Field(default=200, ge=0)
    """Requests a second that one API key may make of this process; 0: as many as it likes."""
    rate_burst: int = Field(default=400, ge=1)
    trusted_proxies: Networks = ""
    """Networks of proxies of ours, separated by commas, that X-Forwarded-For is believed of; the socket's peer counts
    when empty."""
    backlog_limit: int = Field(default=20_000_000, ge=0)
    """Mails of one tenant that may wait in its running campaigns before a launch is refused; 0: any number."""
    outbox_limit: int = Field(default=50_000, ge=0)
    """Messages that may wait for the belt before launches and tests are refused; 0: any number."""

    @property
    def proxies(self) -> tuple[Network, ...]:
        """The networks of ``trusted_proxies``."""
        return networks_of(words_of(self.trusted_proxies))
