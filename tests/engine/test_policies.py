"""The shipped policies: complete, careful, and each number with its reason."""

import re
import tomllib
from dataclasses import fields

import pytest

from hayabin.domain.lane import PROVIDERS
from hayabin.domain.policy import Policy, TlsMode, as_json, merge, read_settings
from services.dispatcher.policy import DEFAULT, SHIPPED, load_policies

POLICIES = load_policies()
NAMES = (*PROVIDERS, DEFAULT)
JAPANESE_CARRIERS = {"docomo", "au", "softbank"}
TIMEOUTS = {"greeting_timeout_s": 300, "command_timeout_s": 300, "data_timeout_s": 120, "block_timeout_s": 180,
            "dot_timeout_s": 600}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_shipped_file_every_number_explained(name: str) -> None:
    """Each line with a number says why: its source, or that it is our choice."""
    rules = False
    for line in (SHIPPED / f"{name}.toml").read_text(encoding="utf-8").splitlines():
        rules = rules or line == "[[rules]]"
        if not rules and re.match(r"\w+ = (?:\d|\[|true|false)", line):
            assert re.search(r"# \S.{3,}", line), f"{name}: {line}"


@pytest.mark.parametrize("name", NAMES)
def test_shipped_file_says_all_that_matters(name: str) -> None:
    """What holds for a provider stands in its file, not in a default of the code."""
    table = tomllib.loads((SHIPPED / f"{name}.toml").read_text(encoding="utf-8"))
    assert set(table) >= {
        "connections", "connections_start", "growth_mails", "messages_per_connection", "recipients_per_session",
        "connection_spacing_s", "recovery_s", "connect_timeout_s", "tls", "retry_delays_s", "ipv6", "rules",
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_shipped_policy_limits_are_careful(name: str) -> None:
    """A small start, few connections, short sessions, a slow way back: until somebody knows better."""
    policy = POLICIES.get(name)
    assert 1 <= policy.connections_start <= 2 < policy.connections <= 10
    assert policy.messages_per_connection <= (policy.recipients_per_session or 0) <= 100
    assert policy.growth_mails >= 5
    assert policy.recovery_s >= 300
    assert policy.connection_spacing_s > 0
    assert policy.tls is TlsMode.OPPORTUNISTIC
    if policy.rate_per_s is not None:
        assert policy.burst <= policy.connections


@pytest.mark.parametrize("name", NAMES)
def test_shipped_policy_timeouts_are_the_rfcs(name: str) -> None:
    """RFC 5321 §4.5.3.2: a client that waits less hangs up on slow but honest servers, or sends twice."""
    policy = POLICIES.get(name)
    assert {key: getattr(policy, key) for key in TIMEOUTS} == TIMEOUTS
    assert 30 <= policy.connect_timeout_s <= 60


@pytest.mark.parametrize("name", NAMES)
def test_shipped_policy_full_hour_avoided_where_all_begin_then(name: str) -> None:
    """The Japanese carriers get nothing from us in the rush; six minutes of sixty are lost, not more."""
    policy = POLICIES.get(name)
    expected = (60, 300) if name in JAPANESE_CARRIERS else (0, 0)
    assert (policy.quiet_before_hour_s, policy.quiet_after_hour_s) == expected


@pytest.mark.parametrize("name", NAMES)
def test_shipped_policy_ipv6_is_narrower_or_not_used(name: str) -> None:
    """An IPv6 address opens at most half of what an IPv4 address may, and nothing else is wider."""
    policy = POLICIES.get(name)
    assert policy.of_source("192.0.2.1") is policy
    over_ipv6 = policy.of_source("2001:db8::1")
    if not policy.ipv6:
        assert over_ipv6 is None
    else:
        assert over_ipv6 is not None
        assert over_ipv6.connections * 2 <= policy.connections
        assert over_ipv6.connections_start <= over_ipv6.connections
        assert over_ipv6.rules == policy.rules


def test_shipped_policy_yahoo_session_as_published() -> None:
    """Yahoo Help, SLN3433: its servers end a connection after 20 messages."""
    assert POLICIES.get("yahoo").messages_per_connection == 20


def test_shipped_policy_docomo_session_as_published() -> None:
    """By docomo's notes a session with more than 100 recipients is refused as a whole."""
    policy = POLICIES.get("docomo")
    assert policy.messages_per_connection < 100
    assert policy.recipients_per_session == 100


@pytest.mark.parametrize("name", NAMES)
def test_shipped_policy_shown_and_read_again_is_the_same(name: str) -> None:
    """What the API shows of a policy makes the same policy again."""
    policy = POLICIES.get(name)
    shown = {key: value for key, value in as_json(policy).items() if value is not None}
    assert merge(name, read_settings(shown)) == policy


def test_policy_every_field_can_be_set_in_a_file() -> None:
    """No limit is out of an operator's reach."""
    settable = {field.name for field in fields(Policy)} - {"provider"}
    for key in settable:
        with pytest.raises(ValueError, match=f"^{key}: "):
            read_settings({key: object()})
