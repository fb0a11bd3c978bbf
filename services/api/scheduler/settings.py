"""Settings of the scheduler."""

from collections.abc import Mapping

from pydantic import Field

from hayabin.domain.campaign import UNKNOWN_POLICIES, MessageClass, UnknownPolicy
from hayabin.settings import BrokerSettings, DatabaseSettings, ProcessSettings


class SchedulerSettings(DatabaseSettings, BrokerSettings, ProcessSettings):
    """What the scheduler needs."""

    belt_high_water: int = Field(default=20_000, ge=1000)
    """Mails on the belt of one class and pool above which the feeder waits in any case."""
    transcript_days: int = Field(default=7, ge=0, le=3650)
    """Days for which SMTP transcripts are kept; 0: they are dropped at once."""
    unknown_bulk: UnknownPolicy = UNKNOWN_POLICIES[MessageClass.BULK]
    """What becomes of messages of bulk campaigns of which nobody knows whether they were accepted."""
    unknown_transactional: UnknownPolicy = UNKNOWN_POLICIES[MessageClass.TRANSACTIONAL]
    """The same of transactional ones."""

    @property
    def unknown_policies(self) -> Mapping[MessageClass, UnknownPolicy]:
        """Both, by class."""
        return {
            MessageClass.BULK: self.unknown_bulk,
            MessageClass.TRANSACTIONAL: self.unknown_transactional,
        }
