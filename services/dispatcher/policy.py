"""How each provider wants to be sent to: one TOML file for each, checked as a whole when the process starts.

Promises: every provider of ``hayabin.domain.lane`` and ``default`` has a complete, sane policy; a key, a rule, a
provider or a value that is not known is an error at start, never ignored. A file of the override folder replaces single
keys of the shipped file of the same name, and settings of the API those of both. A provider's reply rules end with
``default``'s.
Fails with ``PolicyInvalid``, which names file and key; what is wrong in the API's settings is told by ``problems``.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from hayabin.domain.lane import PROVIDERS
from hayabin.domain.policy import DEFAULT, Policy, TlsMode, merge, read_settings

__all__ = ["DEFAULT", "SHIPPED", "Policies", "Policy", "PolicyInvalid", "TlsMode", "load_policies"]

SHIPPED: Final = Path(__file__).parent / "policies"
# Danger: a policy file is read whole.
_MAX_FILE_BYTES: Final = 64 * 1024

Layers = tuple[Mapping[str, Any], ...]
"""What ``read_settings`` gave for one provider: the shipped file, then the override folder's, then the API's."""


class PolicyInvalid(ValueError):
    """A policy file says what cannot be."""

    def __init__(self, file: Path, problem: str) -> None:
        """Name the file and what is wrong in it."""
        super().__init__(f"{file}: {problem}")


class Policies:
    """All policies by provider."""

    def __init__(self, files: Mapping[str, Layers], overrides: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Lay the files' settings over each other, and the raw ``overrides`` over them as far as they are sound.

        Raises: ValueError if the files' settings do not make a policy.
        """
        self._files = MappingProxyType(dict(files))
        self._policies = _merged(self._files)
        problems: list[str] = []
        if overrides:
            layers = dict(self._files)
            # default's rules are everybody's, so its settings come first.
            for provider in sorted(overrides, key=lambda name: (name != DEFAULT, name)):
                layers = _with_override(layers, provider, overrides[provider], problems)
            self._policies = _merged(layers)
        self.problems = tuple(problems)

    def get(self, provider: str | None) -> Policy:
        """Give a provider's policy; that of ``default`` for no provider."""
        return self._policies[provider or DEFAULT]

    def with_overrides(self, overrides: Mapping[str, Mapping[str, Any]]) -> "Policies":
        """Give the policies of the files with the API's settings (JSON, by provider) instead of any given before.

        A provider's settings that are not sound are left out as a whole; ``problems`` says which and why. A disabled
        rule that does not exist is a problem too, but the other settings hold: a new release may have dropped it.
        """
        return Policies(self._files, overrides)


def load_policies(override_dir: str | Path | None = None) -> Policies:
    """Read the shipped policies and what the override folder says instead; no folder if None or empty.

    Raises: PolicyInvalid
    """
    folder = Path(override_dir) if override_dir else None
    files = {name: [SHIPPED / f"{name}.toml"] for name in (*PROVIDERS, DEFAULT)}
    if folder is not None:
        if not folder.is_dir():
            raise PolicyInvalid(folder, "no such folder")
        for file in sorted(folder.glob("*.toml")):
            if file.stem not in files:
                raise PolicyInvalid(file, "no such provider")
            files[file.stem].append(file)
    layers = {name: tuple(_settings(file) for file in places) for name, places in files.items()}
    for name, places in files.items():
        try:
            _check(layers, name)
        except ValueError as error:
            raise PolicyInvalid(places[-1], str(error)) from error
    return Policies(layers)


def _settings(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8") if file.stat().st_size <= _MAX_FILE_BYTES else None
        settings = None if text is None else read_settings(tomllib.loads(text))
    except (OSError, ValueError) as error:
        raise PolicyInvalid(file, str(error)) from error
    if settings is None:
        raise PolicyInvalid(file, "too large")
    return settings


def _check(layers: Mapping[str, Layers], name: str) -> None:
    merge(name, *_stack(layers, name))
    if unknown := _unknown_rules(layers, name):
        raise ValueError(f"disabled_rules: no such rule: {', '.join(unknown)}")


def _merged(layers: Mapping[str, Layers]) -> Mapping[str, Policy]:
    return MappingProxyType({name: merge(name, *_stack(layers, name)) for name in layers})


def _stack(layers: Mapping[str, Layers], name: str) -> Iterator[Mapping[str, Any]]:
    """Give what makes a provider's policy, from the bottom: the rules of ``default``, then its own settings."""
    if name != DEFAULT:
        for layer in layers[DEFAULT]:
            yield {key: value for key, value in layer.items() if key in ("rules", "disabled_rules")}
    yield from layers[name]


def _with_override(
    layers: dict[str, Layers], provider: str, settings: Mapping[str, Any], problems: list[str]
) -> dict[str, Layers]:
    if provider not in layers:
        problems.append(f"{provider[:64]}: no such provider")
        return layers
    if not isinstance(settings, Mapping):
        problems.append(f"{provider}: not a table")
        return layers
    try:
        tried = {**layers, provider: (*layers[provider], read_settings(settings))}
        merge(provider, *_stack(tried, provider))
    except ValueError as error:
        problems.append(f"{provider}: {error}")
        return layers
    if unknown := _unknown_rules(tried, provider):
        problems.append(f"{provider}: disabled_rules: no such rule: {', '.join(unknown)}")
    return tried


def _unknown_rules(layers: Mapping[str, Layers], name: str) -> Sequence[str]:
    """Name the rules that are disabled and never were."""
    stack = list(_stack(layers, name))
    known = {rule.name for layer in stack for rule in layer.get("rules", ())}
    return sorted({rule[:64] for layer in layers[name] for rule in layer.get("disabled_rules", ())} - known)
