"""Fragments of settings that services compose; only this and ``services/*/settings.py`` read the environment.

Promises: frozen, prefix ``HAYABIN_``, secrets are ``SecretStr``, no default secret.
Fails: a missing or malformed value ends the start with pydantic's list of what is wrong, by variable name.
"""

import base64
import binascii
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from hayabin.domain.token import TokenKey, TokenRing


class Fragment(BaseSettings):
    """Base of all settings."""

    model_config = SettingsConfigDict(env_prefix="HAYABIN_", frozen=True, extra="ignore")


def _key_of_32_bytes(value: SecretStr) -> SecretStr:
    try:
        raw = base64.b64decode(value.get_secret_value(), validate=True)
    except binascii.Error as error:
        raise ValueError("must be base64: make one with `hayabin admin new-secret`") from error
    if len(raw) != 32:
        raise ValueError("must be 32 bytes in base64: make one with `hayabin admin new-secret`")
    return value


Secret32 = Annotated[SecretStr, AfterValidator(_key_of_32_bytes)]


def secret_bytes(value: SecretStr) -> bytes:
    """The 32 bytes of a ``Secret32``."""
    return base64.b64decode(value.get_secret_value())


class DatabaseSettings(Fragment):
    """Where Postgres is."""

    database_url: SecretStr


class BrokerSettings(Fragment):
    """Where the belt is: ``amqp://`` for RabbitMQ, ``postgresql://`` for the embedded one."""

    broker_url: SecretStr


class TokenSettings(Fragment):
    """The secret under tracking, unsubscribe and return-path tokens."""

    token_secret: Secret32


TOKEN_KEY_ID = 1
"""The number that tokens name the secret by; a rotation will bring a second one beside it."""


def token_ring(settings: TokenSettings) -> TokenRing:
    """The ring that every service makes of the secret, so that each reads what the others issue."""
    return TokenRing((TokenKey(TOKEN_KEY_ID, secret_bytes(settings.token_secret)),), active=TOKEN_KEY_ID)


class SealingSettings(Fragment):
    """The master key under which DKIM keys are kept."""

    master_key: Secret32


class PublicSettings(Fragment):
    """Names that recipients and remote servers see."""

    public_url: str = "http://127.0.0.1:8081"
    """Base URL of the tracker, as written into mails."""
    return_path_domain: str
    """Domain of the signed return paths; its MX is the bounce service."""


class ProcessSettings(Fragment):
    """What every process has: an admin port, logs, traces, a time to drain."""

    instance: str = ""
    """Name of this process in the ledger; made from host, process and a random part when empty."""
    admin_host: str = "0.0.0.0"
    admin_port: int = Field(default=9090, ge=0, le=65535)
    log_level: str = "INFO"
    otlp_endpoint: str = ""
    trace_file: str = ""
    """Append finished spans as JSON lines to this file (for tests and the demo)."""
    trace_sample_ratio: float = Field(default=0.01, ge=0, le=1)
    """Part of the messages that get a span of their own; batches always have one."""
    drain_timeout_s: float = Field(default=30, gt=0)
    crash_at: str = ""
    """For tests alone: end by SIGKILL at a ``hayabin.crash_points.CrashPoint`` (``name@n``: the n-th time)."""
