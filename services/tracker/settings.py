"""Settings of the tracker."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from hayabin.settings import BrokerSettings, DatabaseSettings, ProcessSettings, TokenSettings
from services.tracker.visitors import networks_of


def _networks(text: str) -> str:
    networks_of(text)
    return text


class TrackerSettings(DatabaseSettings, BrokerSettings, TokenSettings, ProcessSettings):
    """What the tracker needs."""

    http_host: str = "0.0.0.0"
    http_port: int = Field(default=8080, ge=1, le=65535)
    public_url: str = "http://127.0.0.1:8081"
    """Base URL of the tracker, as written into mails; where it has a path, the routes are below it."""
    tracker_answer_within_s: float = Field(default=0.5, gt=0)
    """How long an answer waits for the belt to confirm its event."""
    tracker_keep_s: float = Field(default=30, gt=0)
    """How long an event that the belt does not take is tried again before it is counted as lost."""
    tracker_max_waiting: int = Field(default=20_000, ge=1)
    """Events without a confirm. Danger: bounds memory while the belt is away; an event is below 1 KiB."""
    tracker_database_within_s: float = Field(default=5, gt=0)
    """How long a page or an unsubscribe waits for Postgres before it says that it will be back."""
    projection_prefetch: int = Field(default=50, ge=1, le=1000)
    """Batches of events in hand; all that are there are projected by one statement."""

    trusted_proxies: Annotated[str, AfterValidator(_networks)] = ""
    """Networks of proxies of ours, separated by commas, that X-Forwarded-For is believed of: what they saw is kept as
    evidence of a consent, and limited; the socket's peer when empty."""

    @property
    def origin(self) -> str:
        """The origin of the public URL, as browsers name it."""
        parts = urlsplit(self.public_url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def path_prefix(self) -> str:
        """The path of the public URL, without a slash at its end."""
        return urlsplit(self.public_url).path.rstrip("/")
