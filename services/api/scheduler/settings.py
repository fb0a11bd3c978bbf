"""Settings of the scheduler."""

from pydantic import Field

from hayabin.settings import BrokerSettings, DatabaseSettings, ProcessSettings


class SchedulerSettings(DatabaseSettings, BrokerSettings, ProcessSettings):
    """What the scheduler needs."""

    belt_high_water: int = Field(default=20_000, ge=1000)
    """Mails on the belt of one class and pool above which the feeder waits in any case."""
    transcript_days: int = Field(default=7, ge=0, le=3650)
    """Days for which SMTP transcripts are kept; 0: they are dropped at once."""
