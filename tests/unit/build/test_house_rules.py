"""The house rules find what they forbid and leave the rest alone."""

import pytest

from scripts.house_rules import breaches


@pytest.mark.parametrize(
    "path",
    ["hayabin/utils.py", "services/api/helpers/form.py", "tests/support/manager.py", "hayabin/domain/data.py"],
)
def test_name_that_says_nothing_is_a_breach(path: str) -> None:
    """A module or folder called by an empty word is found, singular and plural."""
    assert [breach.line for breach in breaches(path, '"""A module."""\n')] == [1]


@pytest.mark.parametrize(
    "path", ["hayabin/database/models/people.py", "services/renderer/batch.py", "tests/unit/test_x.py"]
)
def test_name_that_says_something_is_no_breach(path: str) -> None:
    """Ordinary names pass."""
    assert breaches(path, '"""Speaks of utils and os.environ."""\n# os.environ\n') == []


@pytest.mark.parametrize(
    "line",
    ["x = os.environ['A']", "x = os.getenv('A')", "from os import environ", "os.environ.setdefault('A', 'b')"],
)
def test_environment_outside_settings_is_a_breach(line: str) -> None:
    """Each way to read the environment is found in a service and allowed in its settings."""
    source = f"import os\n{line}\n"
    assert [breach.line for breach in breaches("services/tracker/main.py", source)] == [2]
    assert breaches("services/tracker/settings.py", source) == []
    assert breaches("services/standalone/launch.py", source) == []
    assert breaches("tests/support/launch.py", source) == []


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE messages SET state = 'accepted' WHERE id = $1",
        "update only messages m\n   set next_attempt_at = NULL, state='due'",
        "UPDATE messages SET (reason, state) = ('x', 'y')",
        "WITH a AS (SELECT 1) UPDATE messages AS m SET attempt = m.attempt + 1, state = $2 FROM a",
    ],
)
def test_state_written_outside_the_ledger_is_a_breach(sql: str) -> None:
    """SQL that sets a message's state is found everywhere but in the ledger, in plain and in formatted strings."""
    for source in (f"SQL = {sql!r}\n", f"SQL = f{('{where} ' + sql)!r}\n"):
        assert [breach.line for breach in breaches("hayabin/database/feeds.py", source)] == [1]
        assert breaches("hayabin/database/ledger.py", source) == []
        assert breaches("hayabin/database/ledger_gate.py", source) == []


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE messages m SET next_attempt_at = now() WHERE m.state = 'due'",
        "UPDATE campaigns SET state = 'paused'",
        "SELECT state FROM messages FOR UPDATE",
        "UPDATE messages m SET reason = 'x' FROM unnest($1) AS p(id, state) WHERE m.id = p.id",
    ],
)
def test_state_that_is_only_read_is_no_breach(sql: str) -> None:
    """Conditions on the state, and the states of other tables, pass."""
    assert breaches("hayabin/database/feeds.py", f"SQL = {sql!r}\n") == []


@pytest.mark.parametrize(
    "line",
    [
        "import asyncio",
        "from time import monotonic",
        "import orjson",
        "from hayabin.database import ledger",
        "import os",
    ],
)
def test_domain_that_imports_more_than_rules_is_a_breach(line: str) -> None:
    """Packages, I/O, clocks and the layers above are kept out of the domain, and only out of the domain."""
    assert len(breaches("hayabin/domain/retry.py", f"{line}\n")) == 1
    assert breaches("hayabin/broker/consumer.py", f"{line}\n") == []


@pytest.mark.parametrize(
    "line", ["import re", "import idna", "from hayabin.domain.token import Keys", "import hashlib"]
)
def test_domain_that_imports_rules_is_no_breach(line: str) -> None:
    """The standard library's pure parts, idna and the domain itself pass."""
    assert breaches("hayabin/domain/verp.py", f"{line}\n") == []
