"""How a provider wants to be sent to: limits for each source IP, TLS, pauses, what its replies tell us to do.

Promises: a policy that exists is complete and sane; a key, a value or a rule that is not known is an error, never
ignored. The same readers serve the shipped files, the override folder and the API, so all three refuse the same.
Fails with ``ValueError`` that names the key.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, Final

from hayabin.domain.reply_rules import ReplyRule, read_rules

DEFAULT: Final = "default"
"""The policy of every destination that is no provider of its own."""
MAX_DELAYS: Final = 50


class TlsMode(StrEnum):
    """Whether a connection is to be encrypted, where neither DANE nor MTA-STS says more."""

    NONE = "none"  # STARTTLS is not used
    OPPORTUNISTIC = "opportunistic"  # used where offered; without it if it fails
    REQUIRED = "required"  # no mail goes out without it


class DottedForm(StrEnum):
    """How a local part with dots in a row, in front or at the end (Japanese mobile) goes over the wire."""

    QUOTED = "quoted"  # "a..b"@docomo.ne.jp, as RFC 5321 §4.1.2 asks
    BARE = "bare"


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits for one provider from one source IP (for ``default``: for one destination), and when to try again.

    Units: seconds; rates are messages begun; None is no limit.
    """

    provider: str
    connections: int  # open at the same time, at the most
    messages_per_connection: int  # mails begun on it
    connect_timeout_s: float
    tls: TlsMode
    retry_delays_s: tuple[int, ...]
    rate_per_s: float | None = None
    burst: int = 1  # messages that may begin at once after a pause, where rate_per_s is set
    rate_per_min: int | None = None  # in any span of a minute
    rate_per_h: int | None = None  # in any span of an hour
    rate_per_day: int | None = None  # on any day (UTC), also over restarts
    recipients_per_session: int | None = None  # RCPT commands on one connection
    connections_start: int = 2  # open at the same time in the beginning
    growth_mails: int = 5  # accepted mails after which one more connection is allowed
    connection_spacing_s: float = 0.0  # from one connection's begin to the next one's
    recovery_s: float = 300.0  # after being slowed: time without a bad reply until twice as fast
    quiet_before_hour_s: float = 0.0  # bulk mail does not begin so long before a full hour
    quiet_after_hour_s: float = 0.0  # nor so long after it
    greeting_timeout_s: float = 300.0  # RFC 5321 §4.5.3.2.1
    command_timeout_s: float = 300.0  # MAIL, RCPT: §4.5.3.2.2, §4.5.3.2.3
    data_timeout_s: float = 120.0  # §4.5.3.2.4
    block_timeout_s: float = 180.0  # §4.5.3.2.5
    dot_timeout_s: float = 600.0  # §4.5.3.2.6
    dotted_local_part: DottedForm = DottedForm.QUOTED
    ipv6: bool = True  # whether IPv6 source IPs may be used
    ipv6_overrides: Mapping[str, Any] | None = None  # read keys that hold for IPv6 source IPs instead
    rules: tuple[ReplyRule, ...] = ()

    def of_source(self, source_ip: str) -> "Policy | None":
        """Give the policy as it holds for a source IP; None if that IP must not be used for this provider."""
        if ":" not in source_ip:
            return self
        if not self.ipv6:
            return None
        return replace(self, **self.ipv6_overrides) if self.ipv6_overrides else self


def read_settings(table: Mapping[str, Any]) -> dict[str, Any]:
    """Read the keys of a policy file or override; ``rules`` and ``disabled_rules`` as they are told apart in ``merge``.

    Raises: ValueError naming the key.
    """
    values: dict[str, Any] = {}
    for key, value in table.items():
        reader = _READERS.get(key)
        if reader is None:
            raise ValueError(f"unknown key: {key}")
        try:
            values[key] = reader(value)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from error
    return values


def merge(provider: str, *layers: Mapping[str, Any]) -> Policy:
    """Lay read settings over each other, the later over the earlier, and give the policy.

    Rules of a later layer come before the earlier ones'; its ``disabled_rules`` names those that do not hold any more.

    Raises: ValueError if the result is incomplete or contradicts itself.
    """
    values: dict[str, Any] = {}
    rules: tuple[ReplyRule, ...] = ()
    for layer in layers:
        disabled = layer.get("disabled_rules", ())
        own = layer.get("rules", ())
        mine = {rule.name for rule in own}
        rules = own + tuple(rule for rule in rules if rule.name not in disabled and rule.name not in mine)
        values |= {key: value for key, value in layer.items() if key not in ("rules", "disabled_rules")}
    if missing := sorted(_REQUIRED - set(values)):
        raise ValueError(f"incomplete: {', '.join(missing)} missing")
    policy = Policy(provider=provider, rules=rules, **values)
    if policy.quiet_before_hour_s + policy.quiet_after_hour_s >= 3000:
        raise ValueError("quiet_before_hour_s and quiet_after_hour_s leave less than ten minutes of each hour")
    return policy


def as_json(policy: Policy) -> dict[str, Any]:
    """Give a policy as people read it: plain values, rules with the patterns as written."""
    shown: dict[str, Any] = {}
    for field in fields(policy):
        value = getattr(policy, field.name)
        if field.name == "rules":
            shown["rules"] = [_rule_as_json(rule) for rule in value]
        elif field.name not in ("provider", "ipv6_overrides"):
            shown[field.name] = list(value) if isinstance(value, tuple) else value
    if policy.ipv6_overrides:
        shown["ipv6_overrides"] = dict(policy.ipv6_overrides)
    return shown


def _rule_as_json(rule: ReplyRule) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for field in fields(rule):
        value = getattr(rule, field.name)
        if value is None or value is False or value == frozenset():
            continue
        if hasattr(value, "pattern"):
            value = value.pattern
        shown[field.name] = sorted(value) if isinstance(value, frozenset) else value
    return shown


def _count(value: object) -> int:
    if type(value) is not int or not 1 <= value <= 1_000_000:
        raise ValueError(f"{value!r} is no whole number from 1 to 1000000")
    return value


def _day_count(value: object) -> int:
    if type(value) is not int or not 1 <= value <= 1_000_000_000:
        raise ValueError(f"{value!r} is no whole number from 1 to 1000000000")
    return value


def _number(value: object) -> float:
    if type(value) not in (int, float) or not 0 < value <= 100_000:  # type: ignore[operator]
        raise ValueError(f"{value!r} is no positive number up to 100000")
    return float(value)  # type: ignore[arg-type]


def _span(value: object) -> float:
    if type(value) not in (int, float) or not 0 <= value <= 3600:  # type: ignore[operator]
        raise ValueError(f"{value!r} is no number from 0 to 3600")
    return float(value)  # type: ignore[arg-type]


def _delays(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_DELAYS:
        raise ValueError(f"not a list of 1 to {MAX_DELAYS} delays")
    return tuple(_count(delay) for delay in value)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")  # noqa: TRY004 - one kind of error for what people write
    return value


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value) or len(value) > 100:
        raise ValueError("not a list of names of rules")
    return tuple(value)


def _ipv6(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError("not a table")  # noqa: TRY004 - one kind of error for what people write
    if foreign := sorted(set(value) - _PER_ADDRESS_FAMILY):
        raise ValueError(f"not for IPv6 alone: {', '.join(foreign)}")
    return read_settings(value)


_READERS: Final[dict[str, Callable[[object], Any]]] = {
    "connections": _count,
    "messages_per_connection": _count,
    "recipients_per_session": _count,
    "rate_per_s": _number,
    "burst": _count,
    "rate_per_min": _count,
    "rate_per_h": _count,
    "rate_per_day": _day_count,
    "connections_start": _count,
    "growth_mails": _count,
    "connection_spacing_s": _span,
    "recovery_s": _number,
    "quiet_before_hour_s": _span,
    "quiet_after_hour_s": _span,
    "connect_timeout_s": _number,
    "greeting_timeout_s": _number,
    "command_timeout_s": _number,
    "data_timeout_s": _number,
    "block_timeout_s": _number,
    "dot_timeout_s": _number,
    "tls": lambda value: TlsMode(str(value)),
    "dotted_local_part": lambda value: DottedForm(str(value)),
    "retry_delays_s": _delays,
    "ipv6": _flag,
    "ipv6_overrides": _ipv6,
    "rules": read_rules,
    "disabled_rules": _names,
}
_PER_ADDRESS_FAMILY: Final = frozenset({
    "connections", "messages_per_connection", "recipients_per_session", "rate_per_s", "burst", "rate_per_min",
    "rate_per_h", "rate_per_day", "connections_start", "growth_mails", "connection_spacing_s", "recovery_s",
})  # fmt: skip
_REQUIRED: Final = frozenset({
    "connections", "messages_per_connection", "connect_timeout_s", "tls", "retry_delays_s",
})  # fmt: skip
