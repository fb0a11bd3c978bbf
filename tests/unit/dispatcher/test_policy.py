"""Policies are complete and sane, and a mistake in one is an error at start."""

from pathlib import Path

import pytest

from hayabin.domain.lane import PROVIDERS
from services.dispatcher.connect import TlsMode
from services.dispatcher.policy import SHIPPED, PolicyInvalid, load_policies


def test_shipped_policies_every_provider_has_one() -> None:
    """Each provider and the default have a file of their own, and no file is for nobody."""
    assert {file.stem for file in SHIPPED.glob("*.toml")} == {*PROVIDERS, "default"}
    policies = load_policies("")
    for provider in PROVIDERS:
        policy = policies.get(provider)
        assert policy.provider == provider
        assert 1 <= policy.connections <= 20, "conservative until somebody knows better"
        assert policy.retry_delays_s == tuple(sorted(policy.retry_delays_s))
        assert policy.retry_delays_s[0] >= 300, "greylisting asks for minutes"
    assert policies.get(None).provider == "default"


def test_shipped_policies_every_number_explained() -> None:
    """Each file's limits say where they come from."""
    for file in SHIPPED.glob("*.toml"):
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.startswith(("connections", "messages_per_connection", "rate_per_s")):
                assert "#" in line, f"{file.name}: {line}"


def test_load_policies_override_replaces_single_keys(tmp_path: Path) -> None:
    """An override changes what it names and nothing else, for that provider only."""
    (tmp_path / "gmail.toml").write_text('connections = 2\ntls = "required"\nrate_per_s = 0.5\n', encoding="utf-8")
    policies, shipped = load_policies(tmp_path), load_policies()
    changed = policies.get("gmail")
    assert (changed.connections, changed.tls, changed.rate_per_s) == (2, TlsMode.REQUIRED, 0.5)
    assert changed.messages_per_connection == shipped.get("gmail").messages_per_connection
    assert policies.get("yahoo") == shipped.get("yahoo")
    assert policies.get(None) == shipped.get(None)


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


def test_load_policies_missing_folder_refused(tmp_path: Path) -> None:
    """A folder that was asked for and is not there is an error, not an empty override."""
    with pytest.raises(PolicyInvalid, match="no such folder"):
        load_policies(tmp_path / "nowhere")
