"""What a provider's reply tells us to do beside this one mail: slow down, stay away for a time, go by another IP.

Promises: the first rule that matches decides; matching is bounded (``TEXT_MAX_CHARS`` of the reply's text, patterns of
at most ``MAX_STEPS`` steps), so that no server's text can keep us busy. Addresses in a reply are not looked at: a
recipient called ``spamhaus@example.com`` stops nothing. Each rule carries an example reply that it matches and the
source that it was learnt from.
Fails with ``ValueError``, in words for the one who wrote the rule.
"""

import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from hayabin.domain.bounded_pattern import TEXT_MAX_CHARS, bounded_pattern
from hayabin.domain.smtp_reply import Reply, SmtpPhase

MAX_RULES: Final = 100
MAX_MATCHES: Final = 1000
LONGEST_SUSPENSION_S: Final = 7 * 86_400

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_REPLY = re.compile(r"([45]\d{2})[ -](?:([45]\.\d{1,3}\.\d{1,3})(?: |$))?(.*)", re.DOTALL)


class Treatment(StrEnum):
    """How the mail that got the reply counts, where that differs from what the code says."""

    BOUNCE = "bounce"  # refused for good, though the code may be 4yz
    DEFERRAL = "deferral"  # tried again, though the code may be 5yz


@dataclass(frozen=True, slots=True)
class ReplyRule:
    """One rule. ``code``, ``enhanced`` match the whole of each; ``text`` is searched for, without regard to case.

    With ``after`` the lane or the IP is slowed or suspended only at that many matches within ``within_s`` (see
    ``Tally``); ``treat`` holds for each.

    Units: seconds; ``slow_to`` is the part of the lane's usual speed that is left.
    """

    name: str
    code: re.Pattern[str]
    example: str
    source: str
    enhanced: re.Pattern[str] | None = None
    text: re.Pattern[str] | None = None
    phases: frozenset[SmtpPhase] = frozenset()  # empty: any
    after: int | None = None
    within_s: float | None = None
    slow_to: float | None = None
    suspend_lane_s: float | None = None  # this provider from this source IP
    suspend_source_s: float | None = None  # every provider from this source IP
    treat: Treatment | None = None
    other_ip: bool = False  # the mail is tried again soon by another IP of the pool

    def matches(self, reply: Reply, phase: SmtpPhase) -> bool:
        """Tell whether the rule is about this reply."""
        return self._matches(reply, phase, searched_text(reply.text))

    def _matches(self, reply: Reply, phase: SmtpPhase, text: str) -> bool:
        if self.phases and phase not in self.phases:
            return False
        if self.code.fullmatch(str(reply.code)) is None:
            return False
        if self.enhanced is not None and self.enhanced.fullmatch(reply.enhanced or "") is None:
            return False
        return self.text is None or self.text.search(text) is not None


class Tally:
    """Counts, for one lane, the matches of rules that act only ``after`` several; keeps at most that many times each.

    Units: ``now_s`` is of any clock that does not go back.
    """

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[str, deque[float]] = {}

    def is_due(self, rule: ReplyRule, now_s: float) -> bool:
        """Count a match and tell whether the rule's slowing and suspensions are to be done now; then count anew."""
        if rule.after is None or rule.within_s is None:
            return True
        seen = self._seen.setdefault(rule.name, deque())
        seen.append(now_s)
        while seen[0] < now_s - rule.within_s:
            seen.popleft()
        if len(seen) < rule.after:
            return False
        del self._seen[rule.name]
        return True


def first_match(rules: Sequence[ReplyRule], reply: Reply, phase: SmtpPhase) -> ReplyRule | None:
    """Give the rule that decides about a reply, if there is one; 2yz and 3yz replies match none."""
    if reply.code < 400:
        return None
    text = searched_text(reply.text)
    return next((rule for rule in rules if rule._matches(reply, phase, text)), None)  # noqa: SLF001 - of this module


def searched_text(text: str) -> str:
    """Give what patterns see of a reply: one line, single spaces, no addresses."""
    return " ".join("@" if "@" in word else word for word in text[:TEXT_MAX_CHARS].split())


def example_reply(example: str) -> Reply:
    """Read the example of a rule, such as ``421 4.7.28 Try later``.

    Raises: ValueError if it is no refusal.
    """
    found = _REPLY.fullmatch(example.strip())
    if found is None:
        raise ValueError("example: not a refusal such as '421 4.7.28 Try again later'")
    return Reply(int(found[1]), found[2], found[3])


def read_rules(value: object) -> tuple[ReplyRule, ...]:
    """Read the rules of a policy file or of the API: a list of tables.

    Raises: ValueError naming the rule and what is wrong in it.
    """
    if not isinstance(value, list) or len(value) > MAX_RULES:
        raise ValueError(f"not a list of at most {MAX_RULES} rules")
    rules = []
    for number, table in enumerate(value):
        if not isinstance(table, Mapping):
            raise ValueError(f"rule {number + 1} is no table")  # noqa: TRY004 - one kind of error for what people write
        name = table.get("name")
        try:
            rules.append(_read_rule(table))
        except ValueError as error:
            raise ValueError(f"rule {name[:64] if isinstance(name, str) else number + 1!r}: {error}") from error
    names = [rule.name for rule in rules]
    if len(set(names)) < len(names):
        raise ValueError("a rule's name stands twice")
    return tuple(rules)


def _read_rule(table: Mapping[str, Any]) -> ReplyRule:
    if unknown := sorted(str(key)[:64] for key in set(table) - _KEYS):
        raise ValueError(f"unknown key: {', '.join(unknown)}")
    if missing := sorted({"name", "code", "example", "source"} - set(table)):
        raise ValueError(f"missing: {', '.join(missing)}")
    name = _text(table, "name")
    if _NAME.fullmatch(name) is None:
        raise ValueError("name: small letters, digits and hyphens only, at most 64")
    rule = ReplyRule(
        name=name,
        code=_pattern(table, "code"),
        example=_text(table, "example"),
        source=_text(table, "source"),
        enhanced=_pattern(table, "enhanced") if "enhanced" in table else None,
        text=_pattern(table, "text") if "text" in table else None,
        phases=_phases(table.get("phases", [])),
        after=_count(table, "after"),
        within_s=_number(table, "within_s", 86_400),
        slow_to=_number(table, "slow_to", 0.99),
        suspend_lane_s=_number(table, "suspend_lane_s", LONGEST_SUSPENSION_S),
        suspend_source_s=_number(table, "suspend_source_s", LONGEST_SUSPENSION_S),
        treat=_treatment(table) if "treat" in table else None,
        other_ip=_flag(table, "other_ip"),
    )
    _refuse_nonsense(rule)
    return rule


def _refuse_nonsense(rule: ReplyRule) -> None:
    """Refuse a rule that cannot do what its writer meant.

    Raises: ValueError
    """
    acts = (rule.slow_to, rule.suspend_lane_s, rule.suspend_source_s) != (None, None, None)
    if not acts and rule.treat is None:
        raise ValueError("it does nothing: slow_to, suspend_lane_s, suspend_source_s or treat is needed")
    if (rule.after is None) is not (rule.within_s is None):
        raise ValueError("after and within_s need each other")
    if rule.after is not None and not acts:
        raise ValueError("after needs slow_to, suspend_lane_s or suspend_source_s")
    if rule.other_ip and ((rule.suspend_lane_s is None and rule.suspend_source_s is None) or rule.after is not None):
        raise ValueError("other_ip needs a suspension at once, or the same IP would be taken again")
    example = example_reply(rule.example)
    if rule.other_ip and rule.treat is not Treatment.DEFERRAL and (example.code >= 500 or rule.treat is not None):
        raise ValueError('other_ip needs treat = "deferral", or there is no mail left to go there')
    phase = next(iter(rule.phases), SmtpPhase.MAIL)
    if not rule.matches(example, phase):
        raise ValueError("its own example does not match")


_KEYS: Final = frozenset({
    "name", "code", "enhanced", "text", "phases", "example", "source", "after", "within_s", "slow_to", "suspend_lane_s",
    "suspend_source_s", "treat", "other_ip",
})  # fmt: skip


def _text(table: Mapping[str, Any], key: str) -> str:
    value = table[key]
    if not isinstance(value, str) or not 1 <= len(value) <= 500 or not value.isprintable():
        raise ValueError(f"{key}: not a line of 1 to 500 characters")
    return value


def _flag(table: Mapping[str, Any], key: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise ValueError(f"{key}: neither true nor false")  # noqa: TRY004 - one kind of error for what people write
    return value


def _count(table: Mapping[str, Any], key: str) -> int | None:
    value = table.get(key)
    if value is None:
        return None
    if type(value) is not int or not 2 <= value <= MAX_MATCHES:
        raise ValueError(f"{key}: {value!r} is no whole number from 2 to {MAX_MATCHES}")
    return value


def _number(table: Mapping[str, Any], key: str, most: float) -> float | None:
    value = table.get(key)
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 < value <= most:
        raise ValueError(f"{key}: {value!r} is no positive number up to {most:g}")
    return float(value)


def _treatment(table: Mapping[str, Any]) -> Treatment:
    try:
        return Treatment(_text(table, "treat"))
    except ValueError as error:
        raise ValueError(f"treat: neither {' nor '.join(Treatment)}") from error


def _phases(value: object) -> frozenset[SmtpPhase]:
    if not isinstance(value, list) or not all(isinstance(phase, str) for phase in value):
        raise ValueError("phases: not a list of phases")
    if unknown := sorted(set(value) - set(SmtpPhase)):
        raise ValueError(f"phases: no such phase: {unknown[0][:64]}; there are {', '.join(SmtpPhase)}")
    return frozenset(SmtpPhase(phase) for phase in value)


def _pattern(table: Mapping[str, Any], key: str) -> re.Pattern[str]:
    try:
        return bounded_pattern(_text(table, key))
    except ValueError as error:
        raise ValueError(f"{key}: {str(error).removeprefix(f'{key}: ')}") from error
