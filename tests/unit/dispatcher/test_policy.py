"""Policies are read from files and from the API, one over the other, and a mistake is told with its place."""

from pathlib import Path
from typing import Any

import pytest

from hayabin.domain.lane import PROVIDERS
from hayabin.domain.policy import TlsMode
from services.dispatcher.policy import SHIPPED, Policies, PolicyInvalid, load_policies

RULE = """
[[rules]]
name = "ours"
code = '450'
text = 'we are tired'
example = "450 We are tired"
source = "seen here"
slow_to = 0.5
"""
JSON_RULE: dict[str, Any] = {
    "name": "theirs", "code": "450", "text": "so are we", "example": "450 So are we", "source": "seen there",
    "slow_to": 0.5,
}  # fmt: skip


def test_shipped_policies_every_provider_has_one() -> None:
    """Each provider and the default have a file of their own, and no file is for nobody."""
    assert {file.stem for file in SHIPPED.glob("*.toml")} == {*PROVIDERS, "default"}
    policies = load_policies("")
    for provider in PROVIDERS:
        assert policies.get(provider).provider == provider
    assert policies.get(None).provider == "default"
    assert policies.problems == ()


def test_load_policies_override_replaces_single_keys(tmp_path: Path) -> None:
    """An override changes what it names and nothing else, for that provider only."""
    (tmp_path / "gmail.toml").write_text('connections = 2\ntls = "required"\nrate_per_s = 0.5\n', encoding="utf-8")
    policies, shipped = load_policies(tmp_path), load_policies()
    changed = policies.get("gmail")
    assert (changed.connections, changed.tls, changed.rate_per_s) == (2, TlsMode.REQUIRED, 0.5)
    assert changed.messages_per_connection == shipped.get("gmail").messages_per_connection
    assert changed.rules == shipped.get("gmail").rules
    assert policies.get("yahoo") == shipped.get("yahoo")
    assert policies.get(None) == shipped.get(None)


def test_load_policies_rules_of_folder_before_shipped_and_default_last(tmp_path: Path) -> None:
    """An operator's rule is asked first, default's are asked last, and default's additions hold for all."""
    (tmp_path / "gmail.toml").write_text(RULE, encoding="utf-8")
    (tmp_path / "default.toml").write_text(RULE.replace('"ours"', '"everybodys"'), encoding="utf-8")
    policies, shipped = load_policies(tmp_path), load_policies()
    names = [rule.name for rule in policies.get("gmail").rules]
    assert names[0] == "ours"
    assert names.index("gmail-unusual-rate-of-ip") < names.index("everybodys") < names.index("greylisted")
    assert policies.get("au").rules[-len(shipped.get(None).rules) - 1].name == "everybodys"


def test_load_policies_rule_disabled_gone_where_disabled(tmp_path: Path) -> None:
    """A provider can do without one of default's rules, or of its own; the others keep it."""
    (tmp_path / "gmail.toml").write_text('disabled_rules = ["listed", "gmail-unusual-rate"]', encoding="utf-8")
    policies = load_policies(tmp_path)
    gmail = {rule.name for rule in policies.get("gmail").rules}
    assert "listed" not in gmail
    assert "gmail-unusual-rate" not in gmail
    assert "listed" in {rule.name for rule in policies.get("yahoo").rules}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("gmail.toml", "conections = 2", "unknown key: conections"),
        ("gmial.toml", "connections = 2", "no such provider"),
        ("gmail.toml", "connections = 0", "connections: 0"),
        ("gmail.toml", "connections = true", "connections: True"),
        ("gmail.toml", "connections = 2.5", "connections: 2.5"),
        ("gmail.toml", 'connections = "2"', "connections: '2'"),
        ("gmail.toml", "rate_per_s = -1", "rate_per_s: -1"),
        ("gmail.toml", "rate_per_s = nan", "rate_per_s: nan"),
        ("gmail.toml", "rate_per_s = inf", "rate_per_s: inf"),
        ("gmail.toml", 'tls = "maybe"', "tls: 'maybe'"),
        ("gmail.toml", "retry_delays_s = []", "retry_delays_s: not a list"),
        ("gmail.toml", "retry_delays_s = [0]", "retry_delays_s: 0"),
        ("gmail.toml", "retry_delays_s = 300", "retry_delays_s: not a list"),
        ("gmail.toml", "quiet_before_hour_s = 1500\nquiet_after_hour_s = 1500", "less than ten minutes"),
        ("gmail.toml", "[ipv6_overrides]\ntls = 'none'", "ipv6_overrides: not for IPv6 alone: tls"),
        ("gmail.toml", 'disabled_rules = ["never-was"]', "disabled_rules: no such rule: never-was"),
        ("gmail.toml", RULE.replace("'450'", "'45('"), "rules: rule 'ours': code: no regular expression"),
        ("gmail.toml", RULE + RULE, "rules: a rule's name stands twice"),
        ("gmail.toml", "not toml", "gmail.toml"),
        ("gmail.toml", "# " + "x" * 70_000, "too large"),
    ],
)
def test_load_policies_mistake_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    """Whatever cannot be is refused, with the file and the key."""
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(PolicyInvalid) as caught:
        load_policies(tmp_path)
    assert message in str(caught.value)
    assert name in str(caught.value)


def test_load_policies_not_utf8_refused(tmp_path: Path) -> None:
    """A file in another encoding is named, not half read."""
    (tmp_path / "gmail.toml").write_bytes(b"# caf\xe9\nconnections = 2\n")
    with pytest.raises(PolicyInvalid, match=r"gmail\.toml"):
        load_policies(tmp_path)


def test_load_policies_missing_folder_refused(tmp_path: Path) -> None:
    """A folder that was asked for and is not there is an error, not an empty override."""
    with pytest.raises(PolicyInvalid, match="no such folder"):
        load_policies(tmp_path / "nowhere")


@pytest.fixture
def files(tmp_path: Path) -> Policies:
    """Policies with one override in a file."""
    (tmp_path / "gmail.toml").write_text("connections = 2\nconnections_start = 1\n", encoding="utf-8")
    return load_policies(tmp_path)


def test_with_overrides_over_shipped_and_folder(files: Policies) -> None:
    """The API's settings go over both files, key by key, and leave the others and the original alone."""
    changed = files.with_overrides({"gmail": {"connections": 3, "rules": [JSON_RULE]}})
    assert changed.problems == ()
    assert (changed.get("gmail").connections, changed.get("gmail").connections_start) == (3, 1)
    assert changed.get("gmail").rules[0].name == "theirs"
    assert changed.get("yahoo") == files.get("yahoo")
    assert files.get("gmail").connections == 2


def test_with_overrides_again_replaces_the_former(files: Policies) -> None:
    """The settings given are all there are: what was taken back in the API is gone."""
    first = files.with_overrides({"gmail": {"connections": 3}, "yahoo": {"connections": 4}})
    second = first.with_overrides({"yahoo": {"connections": 1}})
    assert second.get("gmail") == files.get("gmail")
    assert second.get("yahoo").connections == 1
    assert second.with_overrides({}).get("yahoo") == files.get("yahoo")


def test_with_overrides_of_default_rules_hold_for_everybody(files: Policies) -> None:
    """A rule for all is added or taken away in one place; default's limits stay default's."""
    changed = files.with_overrides(
        {
            "default": {"connections": 1, "rules": [JSON_RULE], "disabled_rules": ["listed"]},
            "au": {"disabled_rules": ["theirs"]},
        }
    )
    assert changed.problems == ()
    assert changed.get(None).connections == 1
    names = {provider: [rule.name for rule in changed.get(provider).rules] for provider in ("gmail", "au")}
    assert "theirs" in names["gmail"]
    assert "listed" not in names["gmail"]
    assert "theirs" not in names["au"]
    assert changed.get("gmail").connections == 2


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"connections": 0}, "gmail: connections: 0 is no whole number"),
        ({"conections": 1}, "gmail: unknown key: conections"),
        ({"rules": [{**JSON_RULE, "code": "4("}]}, "gmail: rules: rule 'theirs': code: no regular expression"),
        ({"quiet_before_hour_s": 3600}, "gmail: quiet_before_hour_s"),
        ([], "gmail: not a table"),
        (None, "gmail: not a table"),
    ],
)
def test_with_overrides_bad_one_left_out_and_told(files: Policies, settings: Any, problem: str) -> None:
    """What is not sound in the database must not stop the mail: the files hold, and the problem is told."""
    changed = files.with_overrides({"gmail": settings, "yahoo": {"connections": 1}})
    assert len(changed.problems) == 1
    assert changed.problems[0].startswith(problem)
    assert changed.get("gmail") == files.get("gmail")
    assert changed.get("yahoo").connections == 1


def test_with_overrides_unknown_provider_told(files: Policies) -> None:
    """A provider that a newer release knows is nobody's here."""
    changed = files.with_overrides({"nowhere": {"connections": 1}})
    assert changed.problems == ("nowhere: no such provider",)


def test_with_overrides_unknown_disabled_rule_told_and_the_rest_holds(files: Policies) -> None:
    """A rule that a new release dropped does not take the operator's limits with it."""
    changed = files.with_overrides({"gmail": {"connections": 1, "disabled_rules": ["never-was"]}})
    assert changed.problems == ("gmail: disabled_rules: no such rule: never-was",)
    assert changed.get("gmail").connections == 1
