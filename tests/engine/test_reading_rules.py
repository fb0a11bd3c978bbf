"""Rules that people write: sound ones are taken, others are refused in words for the one who wrote them."""

import re
import warnings
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hayabin.domain.reply_rules import MAX_RULES, ReplyRule, Tally, Treatment, first_match, read_rules
from hayabin.domain.smtp_reply import Reply, SmtpPhase

GOOD: dict[str, Any] = {
    "name": "slow-down",
    "code": "421",
    "enhanced": r"4\.7\.\d+",
    "text": "slow down",
    "phases": ["mail", "rcpt"],
    "example": "421 4.7.1 Please slow down",
    "source": "Example Ltd, postmaster page",
    "slow_to": 0.5,
}


def rule(**changes: Any) -> ReplyRule:
    """Read ``GOOD`` with changes; None takes a key out."""
    (found,) = read_rules([{key: value for key, value in {**GOOD, **changes}.items() if value is not None}])
    return found


def test_read_rules_whole_table_read() -> None:
    """Each key arrives where it belongs."""
    found = rule(suspend_lane_s=60, suspend_source_s=30, treat="deferral", other_ip=True)
    assert (found.name, found.code.pattern, set(found.phases)) == ("slow-down", "421", {SmtpPhase.MAIL, SmtpPhase.RCPT})
    assert (found.slow_to, found.suspend_lane_s, found.suspend_source_s) == (0.5, 60.0, 30.0)
    assert (found.treat, found.other_ip) == (Treatment.DEFERRAL, True)
    assert read_rules([]) == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": "red"}, "rule 'slow-down': unknown key: colour"),
        ({"name": None}, "rule 1: missing: name"),
        ({"source": None}, "missing: source"),
        ({"name": "Slow Down"}, "name: small letters"),
        ({"name": 7}, "rule 1: name: not a line"),
        ({"source": "two\nlines"}, "source: not a line"),
        ({"source": ""}, "source: not a line"),
        ({"code": "4("}, "code: no regular expression"),
        ({"code": 421}, "code: not a line"),
        ({"text": "(a+)+"}, "text: no repeated groups"),
        ({"text": "a.*b.*c"}, "text: it may take too long"),
        ({"text": "x" * 201}, "text: more than 200 characters"),
        ({"text": "x" * 501}, "text: not a line of 1 to 500"),
        ({"phases": "mail"}, "phases: not a list"),
        ({"phases": ["helo"]}, "phases: no such phase: helo; there are connect, ehlo"),
        ({"example": "250 2.0.0 Ok"}, "example: not a refusal"),
        ({"example": "slow down"}, "example: not a refusal"),
        ({"example": "421 4.7.1 Something else"}, "its own example does not match"),
        ({"slow_to": 0}, "slow_to: 0 is no positive number up to 0.99"),
        ({"slow_to": 1}, "slow_to: 1 is no positive number up to 0.99"),
        ({"slow_to": float("nan")}, "slow_to: nan"),
        ({"slow_to": True}, "slow_to: True"),
        ({"suspend_lane_s": -5}, "suspend_lane_s: -5"),
        ({"suspend_lane_s": 604_801}, "suspend_lane_s: 604801"),
        ({"suspend_source_s": "1h"}, "suspend_source_s: '1h'"),
        ({"slow_to": None}, "it does nothing"),
        ({"treat": "drop"}, "treat: neither bounce nor deferral"),
        ({"other_ip": "yes"}, "other_ip: neither true nor false"),
        ({"other_ip": True}, "other_ip needs a suspension"),
        ({"other_ip": True, "suspend_lane_s": 9, "treat": "bounce"}, 'other_ip needs treat = "deferral"'),
        ({"other_ip": True, "suspend_lane_s": 9, "code": "55.", "enhanced": None, "example": "550 slow down"},
         'other_ip needs treat = "deferral"'),
        ({"after": 5}, "after and within_s need each other"),
        ({"within_s": 5}, "after and within_s need each other"),
        ({"after": 1, "within_s": 5}, "after: 1 is no whole number from 2"),
        ({"after": 2.5, "within_s": 5}, "after: 2.5"),
        ({"after": 5, "within_s": 60, "slow_to": None, "treat": "bounce"}, "after needs slow_to"),
        ({"after": 5, "within_s": 60, "suspend_lane_s": 60, "other_ip": True}, "other_ip needs a suspension at once"),
    ],
)  # fmt: skip
def test_read_rules_bad_rule_refused_in_clear_words(changes: dict[str, Any], message: str) -> None:
    """The rule is named, and what is wrong in it."""
    with pytest.raises(ValueError, match=re.escape(message)):
        rule(**changes)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "not a list"),
        ("rules", "not a list"),
        ([1], "rule 1 is no table"),
        ([GOOD, GOOD], "stands twice"),
        ([GOOD] * (MAX_RULES + 1), "at most 100"),
    ],
)
def test_read_rules_no_list_of_rules_refused(value: object, message: str) -> None:
    """The list as a whole is looked at, too."""
    with pytest.raises(ValueError, match=message):
        read_rules(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
PATTERNS = st.text(alphabet="4215.*+?{},()|[]^$\\d:ax", max_size=30)


@given(JSON | st.lists(st.dictionaries(st.sampled_from([*GOOD, "treat", "after", "within_s", "x"]), JSON, max_size=9)))
def test_read_rules_any_json_read_or_refused(value: object) -> None:
    """Whatever the API is sent: rules, or a ValueError and nothing else."""
    with suppress(ValueError):
        assert all(isinstance(each, ReplyRule) for each in read_rules(value))


@given(st.sampled_from(sorted(GOOD)), JSON)
def test_read_rules_any_value_for_one_key_read_or_refused(key: str, value: object) -> None:
    """One other value in a good rule: it is read, or refused with the rule's place or name."""
    refusal = ""
    try:
        read_rules([{**GOOD, key: value}])
    except ValueError as error:
        refusal = str(error)
    assert refusal == "" or refusal.startswith("rule ")


@given(PATTERNS, PATTERNS)
def test_read_rules_any_pattern_read_or_refused(code: str, text: str) -> None:
    """A rule that is read matches its example, whatever its patterns are; no pattern fails in another way."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "possible nested set"
        try:
            found = rule(code=code, text=text, enhanced=None)
        except ValueError:
            return
    assert first_match((found,), Reply(421, "4.7.1", "Please slow down"), SmtpPhase.MAIL) is found


def test_matches_each_condition_counts() -> None:
    """Code and enhanced code are matched as a whole, the text anywhere and without case, the phase as listed."""
    found = rule()
    assert found.matches(Reply(421, "4.7.1", "PLEASE\nSLOW\n DOWN now"), SmtpPhase.RCPT)
    for reply, phase in (
        (Reply(450, "4.7.1", "slow down"), SmtpPhase.MAIL),
        (Reply(421, "4.7.1x", "slow down"), SmtpPhase.MAIL),
        (Reply(421, None, "slow down"), SmtpPhase.MAIL),
        (Reply(421, "4.7.1", "slowdown"), SmtpPhase.MAIL),
        (Reply(421, "4.7.1", "slow down"), SmtpPhase.DOT),
    ):
        assert not found.matches(reply, phase)


def test_matches_address_in_text_not_looked_at() -> None:
    """A recipient's name is not the server's opinion."""
    assert not rule(text="spamhaus", example="421 4.7.1 spamhaus").matches(
        Reply(421, "4.7.1", "<spamhaus@example.com>: busy"), SmtpPhase.MAIL
    )


def test_first_match_order_decides() -> None:
    """The first of two that match is taken."""
    narrow, wide = rule(name="narrow"), rule(name="wide", text=None)
    reply = Reply(421, "4.7.1", "slow down")
    assert first_match((narrow, wide), reply, SmtpPhase.MAIL) is narrow
    assert first_match((wide, narrow), reply, SmtpPhase.MAIL) is wide


def test_tally_rule_without_after_due_at_once() -> None:
    """Most rules act on the first match, and on each."""
    tally = Tally()
    assert [tally.is_due(rule(), float(now)) for now in range(3)] == [True, True, True]


def test_tally_due_at_the_nth_match_then_counts_anew() -> None:
    """Three within ten seconds; then three more."""
    tally, third = Tally(), rule(after=3, within_s=10)
    assert [tally.is_due(third, now) for now in (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)] == [False, False, True] * 2


def test_tally_old_matches_forgotten() -> None:
    """Matches that are spread in time never add up; one exactly ``within_s`` ago still counts."""
    tally, third = Tally(), rule(after=3, within_s=10)
    assert [tally.is_due(third, now) for now in (0.0, 6.0, 12.0, 18.0, 24.0)] == [False] * 5
    assert [Tally().is_due(rule(after=2, within_s=10), 0.0)] == [False]
    pair, seconds = Tally(), rule(after=2, within_s=10)
    assert [pair.is_due(seconds, now) for now in (0.0, 10.0)] == [False, True]


@given(st.lists(st.floats(0, 100), max_size=60).map(sorted), st.integers(2, 5), st.floats(1, 50))
def test_tally_any_times_due_as_counted_by_hand(times: list[float], after: int, within_s: float) -> None:
    """Due exactly when ``after`` matches since the last time that it was due lie within ``within_s``."""
    tally, some = Tally(), rule(after=after, within_s=within_s)
    waiting: list[float] = []
    for now in times:
        waiting.append(now)
        expected = sum(1 for then in waiting if then >= now - within_s) >= after
        assert tally.is_due(some, now) is expected
        if expected:
            waiting.clear()
