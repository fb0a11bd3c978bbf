"""What a provider's reply tells us to do beside this one mail: slow down, stay away for a time, go by another IP.

Promises: the first rule that matches decides; matching is bounded (``TEXT_MAX_CHARS`` of the reply's text, patterns
without quantified groups and with at most ``MAX_OPEN_ENDED`` open-ended quantifiers), so that no server's text can keep
us busy. Each rule carries an example reply that it matches and the source that it was learnt from.
Fails with ``ValueError``, in words for the one who wrote the rule.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from hayabin.domain.smtp_reply import Reply, SmtpPhase

TEXT_MAX_CHARS: Final = 512
PATTERN_MAX_CHARS: Final = 200
MAX_OPEN_ENDED: Final = 2
MAX_RULES: Final = 100
LONGEST_SUSPENSION_S: Final = 7 * 86_400

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_REPLY = re.compile(r"(\d{3})[ -](?:([245]\.\d{1,3}\.\d{1,3}) ?)?(.*)", re.DOTALL)
_ESCAPED_OR_CLASS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]")
_OPEN_ENDED = re.compile(r"[*+]|\{\d*,\d*\}")


class Treatment(StrEnum):
    """How the mail that got the reply counts, where that differs from what the code says."""

    BOUNCE = "bounce"  # refused for good, though the code may be 4yz
    DEFERRAL = "deferral"  # tried again, though the code may be 5yz


@dataclass(frozen=True, slots=True)
class ReplyRule:
    """One rule. ``code``, ``enhanced`` match the whole of each; ``text`` is searched for, without regard to case.

    Units: seconds; ``slow_to`` is the part of the lane's usual speed that is left.
    """

    name: str
    code: re.Pattern[str]
    example: str
    source: str
    enhanced: re.Pattern[str] | None = None
    text: re.Pattern[str] | None = None
    phases: frozenset[SmtpPhase] = frozenset()  # empty: any
    slow_to: float | None = None
    suspend_lane_s: float | None = None  # this provider from this source IP
    suspend_source_s: float | None = None  # every provider from this source IP
    treat: Treatment | None = None
    other_ip: bool = False  # the mail is tried again soon by another IP of the pool

    def matches(self, reply: Reply, phase: SmtpPhase) -> bool:
        """Tell whether the rule is about this reply."""
        if self.phases and phase not in self.phases:
            return False
        if self.code.fullmatch(str(reply.code)) is None:
            return False
        if self.enhanced is not None and self.enhanced.fullmatch(reply.enhanced or "") is None:
            return False
        return self.text is None or self.text.search(" ".join(reply.text[:TEXT_MAX_CHARS].split())) is not None


def first_match(rules: Sequence[ReplyRule], reply: Reply, phase: SmtpPhase) -> ReplyRule | None:
    """Give the rule that decides about a reply, if there is one; 2yz and 3yz replies match none."""
    if reply.code < 400:
        return None
    return next((rule for rule in rules if rule.matches(reply, phase)), None)


def example_reply(example: str) -> Reply:
    """Read the example of a rule, such as ``421 4.7.28 Try later``.

    Raises: ValueError if it is no reply.
    """
    found = _REPLY.fullmatch(example.strip())
    if found is None:
        raise ValueError("example: not a reply such as '421 4.7.28 Try again later'")
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
            raise ValueError(f"rule {name if isinstance(name, str) else number + 1!r}: {error}") from error
    names = [rule.name for rule in rules]
    if len(set(names)) < len(names):
        raise ValueError("a rule's name stands twice")
    return tuple(rules)


def _read_rule(table: Mapping[str, Any]) -> ReplyRule:
    if unknown := sorted(set(table) - _KEYS):
        raise ValueError(f"unknown key: {', '.join(map(str, unknown))}")
    if missing := sorted({"name", "code", "example", "source"} - set(table)):
        raise ValueError(f"missing: {', '.join(missing)}")
    name = _text(table, "name")
    if _NAME.fullmatch(name) is None:
        raise ValueError("name: small letters, digits and hyphens only")
    rule = ReplyRule(
        name=name,
        code=_pattern(table, "code"),
        example=_text(table, "example"),
        source=_text(table, "source"),
        enhanced=_pattern(table, "enhanced") if "enhanced" in table else None,
        text=_pattern(table, "text") if "text" in table else None,
        phases=_phases(table.get("phases", [])),
        slow_to=_number(table, "slow_to", 1.0),
        suspend_lane_s=_number(table, "suspend_lane_s", LONGEST_SUSPENSION_S),
        suspend_source_s=_number(table, "suspend_source_s", LONGEST_SUSPENSION_S),
        treat=Treatment(_text(table, "treat")) if "treat" in table else None,
        other_ip=_flag(table, "other_ip"),
    )
    if (rule.slow_to, rule.suspend_lane_s, rule.suspend_source_s, rule.treat) == (None, None, None, None):
        raise ValueError("it does nothing: slow_to, suspend_lane_s, suspend_source_s or treat is needed")
    if rule.other_ip and rule.suspend_lane_s is None and rule.suspend_source_s is None:
        raise ValueError("other_ip needs a suspension, or the same IP would be taken again")
    phase = next(iter(rule.phases), SmtpPhase.MAIL)
    if not rule.matches(example_reply(rule.example), phase):
        raise ValueError("its own example does not match")
    return rule


_KEYS: Final = frozenset({
    "name", "code", "enhanced", "text", "phases", "example", "source", "slow_to", "suspend_lane_s", "suspend_source_s",
    "treat", "other_ip",
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


def _number(table: Mapping[str, Any], key: str, most: float) -> float | None:
    value = table.get(key)
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 < value <= most:
        raise ValueError(f"{key}: {value!r} is no positive number up to {most:g}")
    return float(value)


def _phases(value: object) -> frozenset[SmtpPhase]:
    if not isinstance(value, list):
        raise ValueError("phases: not a list")  # noqa: TRY004 - one kind of error for what people write
    return frozenset(SmtpPhase(str(phase)) for phase in value)


def _pattern(table: Mapping[str, Any], key: str) -> re.Pattern[str]:
    source = _text(table, key)
    if len(source) > PATTERN_MAX_CHARS:
        raise ValueError(f"{key}: more than {PATTERN_MAX_CHARS} characters")
    bare = _ESCAPED_OR_CLASS.sub("x", source)
    if re.search(r"\)(?:[*+]|\{)", bare) or "(?P=" in bare or re.search(r"\\[1-9]", source):
        raise ValueError(f"{key}: no repeated groups and no back-references, they can take for ever")
    if len(_OPEN_ENDED.findall(bare)) > MAX_OPEN_ENDED:
        raise ValueError(f"{key}: at most {MAX_OPEN_ENDED} of * + {{n,}}")
    try:
        return re.compile(source, re.IGNORECASE)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{key}: no regular expression: {error}") from error
