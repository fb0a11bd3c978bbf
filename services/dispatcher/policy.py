"""How each provider wants to be sent to: one TOML file for each, checked as a whole when the process starts.

Promises: every provider of ``hayabin.domain.lane`` and ``default`` has a complete, sane policy; a key, a provider or a
value that is not known is an error at start, never ignored. A file of the override folder replaces single keys of the
shipped file of the same name.
Fails with ``PolicyInvalid``, which names file and key.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from hayabin.domain.lane import PROVIDERS
from services.dispatcher.connect import TlsMode

DEFAULT: Final = "default"
SHIPPED: Final = Path(__file__).parent / "policies"
# Danger: a policy file is read whole.
_MAX_FILE_BYTES: Final = 64 * 1024


class PolicyInvalid(ValueError):
    """A policy file says what cannot be."""

    def __init__(self, file: Path, problem: str) -> None:
        """Name the file and what is wrong in it."""
        super().__init__(f"{file}: {problem}")


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits for one provider from one source IP (for ``default``: for one destination), and when to try again."""

    provider: str
    connections: int  # open at the same time
    messages_per_connection: int
    connect_timeout_s: float
    tls: TlsMode
    retry_delays_s: tuple[int, ...]
    rate_per_s: float | None = None  # messages begun; None: only the connections limit
    burst: int = 1  # messages that may begin at once after a pause, where a rate is set


class Policies:
    """All policies by provider."""

    def __init__(self, policies: Mapping[str, Policy]) -> None:
        """Keep policies, ``default`` among them."""
        self._policies = MappingProxyType(dict(policies))

    def get(self, provider: str | None) -> Policy:
        """Give a provider's policy; that of ``default`` for no provider."""
        return self._policies[provider or DEFAULT]


def load_policies(override_dir: str | Path | None = None) -> Policies:
    """Read the shipped policies and what the override folder says instead; no folder if None or empty.

    Raises: PolicyInvalid
    """
    override = Path(override_dir) if override_dir else None
    names = (*PROVIDERS, DEFAULT)
    tables = {name: _read(SHIPPED / f"{name}.toml") for name in names}
    if override is not None:
        if not override.is_dir():
            raise PolicyInvalid(override, "no such folder")
        for file in sorted(override.glob("*.toml")):
            if file.stem not in tables:
                raise PolicyInvalid(file, "no such provider")
            tables[file.stem] |= _checked_keys(file, _read(file))
    return Policies({name: _policy(name, table, override) for name, table in tables.items()})


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _MAX_FILE_BYTES:
            raise PolicyInvalid(file, "too large")
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PolicyInvalid(file, str(error)) from error


def _checked_keys(file: Path, table: dict[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(table) - set(_READERS))
    if unknown:
        raise PolicyInvalid(file, f"unknown key: {', '.join(unknown)}")
    return table


def _policy(name: str, table: dict[str, Any], override: Path | None) -> Policy:
    file = SHIPPED / f"{name}.toml"
    if override is not None and (override / f"{name}.toml").exists():
        file = override / f"{name}.toml"
    _checked_keys(file, table)
    values: dict[str, Any] = {}
    for key, value in table.items():
        try:
            values[key] = _READERS[key](value)
        except ValueError as error:
            raise PolicyInvalid(file, f"{key}: {error}") from error
    try:
        return Policy(provider=name, **values)
    except TypeError as error:
        raise PolicyInvalid(file, f"incomplete: {error}") from error


def _count(value: object) -> int:
    if type(value) is not int or not 1 <= value <= 100_000:
        raise ValueError(f"{value!r} is no whole number from 1 to 100000")
    return value


def _number(value: object) -> float:
    if type(value) not in (int, float) or not 0 < value <= 100_000:  # type: ignore[operator]
        raise ValueError(f"{value!r} is no positive number up to 100000")
    return float(value)  # type: ignore[arg-type]


def _delays(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= 50:
        raise ValueError("not a list of 1 to 50 delays")
    return tuple(_count(delay) for delay in value)


_READERS: Final = {
    "connections": _count,
    "messages_per_connection": _count,
    "rate_per_s": _number,
    "burst": _count,
    "connect_timeout_s": _number,
    "tls": TlsMode,
    "retry_delays_s": _delays,
}
