"""Settings of the bounce service."""

from pydantic import Field

from hayabin.settings import BrokerSettings, DatabaseSettings, ProcessSettings, PublicSettings, TokenSettings


class BounceSettings(DatabaseSettings, BrokerSettings, TokenSettings, PublicSettings, ProcessSettings):
    """What the bounce service needs."""

    bounce_host: str = "0.0.0.0"
    bounce_port: int = Field(default=2525, ge=1, le=65535)
    bounce_hostname: str = ""
    """Said in the banner; the return-path domain when empty."""
    bounce_size_bytes: int = Field(default=1 << 20, ge=64 << 10, le=32 << 20)
    """Inbound mails longer than this are refused."""
    bounce_connections: int = Field(default=200, ge=1)
    """Connections at a time, from all peers."""
    bounce_prefetch: int = Field(default=8, ge=1, le=100)
    """Batches of each kind in hand. Danger: bounds memory, an inbound mail is up to ``bounce_size_bytes``."""

    @property
    def hostname(self) -> str:
        """The name that the server says."""
        return self.bounce_hostname or self.return_path_domain
