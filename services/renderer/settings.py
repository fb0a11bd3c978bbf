"""Settings of the renderer."""

from pydantic import Field

from hayabin.settings import (
    BrokerSettings,
    DatabaseSettings,
    ProcessSettings,
    PublicSettings,
    SealingSettings,
    TokenSettings,
)


class RendererSettings(
    DatabaseSettings, BrokerSettings, TokenSettings, SealingSettings, PublicSettings, ProcessSettings
):
    """What the renderer needs."""

    render_prefetch: int = Field(default=2, ge=1, le=16)
    """Chunks of one queue in hand: one is rendered while the one before waits for its confirms."""
    batch_mails: int = Field(default=50, ge=1, le=50)
    """Mails in one batch for the dispatcher."""
    render_fuel: int = Field(default=200_000, ge=1000)
    """Template instructions that one part of one mail may take."""
