"""docs/reliability.md names the scenarios that there are, and bounds that are those of the code."""

import importlib
import re
import tomllib
from typing import Any

import pytest
from pydantic_core import PydanticUndefined

from hayabin.settings import Fragment
from tests.chaos.scenarios import slow
from tests.chaos.worlds import GROUPS
from tests.deploy.rendering import ROOT

TEXT = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
_BOUND = re.compile(r"^\| [^|]+ \| ([\d.]+) (\w+) \| `(\w+)` \(`([\w/.]+)`\) \| [^|]*\|$", re.MULTILINE)
BOUNDS = [match.groups() for match in _BOUND.finditer(TEXT)]
_BYTES = {"KiB": 2**10, "MiB": 2**20}


def figure_of(name: str, path: str) -> Any:
    """What the code says: a setting's default, a constant of a module, a key of a policy."""
    if path.endswith(".toml"):
        return tomllib.loads((ROOT / path).read_text(encoding="utf-8"))[name]
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    if not name.startswith("HAYABIN_"):
        return getattr(module, name)
    field = name.removeprefix("HAYABIN_").lower()
    found = {
        settings.model_fields[field].default
        for settings in vars(module).values()
        if isinstance(settings, type) and issubclass(settings, Fragment) and field in settings.model_fields
    } - {PydanticUndefined}
    (default,) = found
    return default


@pytest.mark.parametrize(("figure", "unit", "name", "path"), BOUNDS, ids=[f"{b[3]}:{b[2]}" for b in BOUNDS])
def test_bound_of_the_page_is_that_of_the_code(figure: str, unit: str, name: str, path: str) -> None:
    """A bound that was changed in the code alone, or is misquoted, is found by its name."""
    assert float(figure) * _BYTES.get(unit, 1) == figure_of(name, path)


def test_every_row_of_the_tables_of_bounds_is_compared() -> None:
    """No row escapes the comparison by its form."""
    section = TEXT.partition("\n## Bounds\n")[2].partition("\n## ")[0]
    rows = [row for row in section.splitlines() if row.startswith("| ") and not row.startswith("| what | ")]

    assert len(BOUNDS) == len(rows) > 50


def test_figure_of_code_that_is_not_there_is_refused() -> None:
    """The comparison can fail: a constant, a setting and a module that there are not."""
    for name, path, error in (
        ("MAX_NOTHING", "services/dispatcher/gate.py", AttributeError),
        ("HAYABIN_NOTHING", "hayabin/settings.py", ValueError),
        ("MAX_ROWS", "services/dispatcher/nothing.py", ModuleNotFoundError),
    ):
        with pytest.raises(error):
            figure_of(name, path)


def test_scenarios_of_the_page_are_those_of_the_suite() -> None:
    """The page lists every scenario by number and name, and what holds a promise is one of them."""
    named = dict(re.findall(r"^\| (\d+[ab]?) \| ([^|]+) \|$", TEXT, re.MULTILINE))
    there = {scenario.number: scenario.name for group in GROUPS for scenario in group.scenarios}
    promises = TEXT.partition("| promise | bound | held by |")[2].partition("\n\n")[0]
    holding = {
        number
        for row in promises.splitlines()
        if row.startswith("| **")
        for number in re.findall(r"\d+[ab]?", row.rstrip(" |").rpartition("|")[2])
    }

    assert named == there
    assert holding <= there.keys()
    assert len(holding) > 10


def test_memory_bounds_of_the_page_are_those_that_the_suite_holds() -> None:
    """Resident memory of each kind of process."""
    (said,) = re.findall(r"resident MiB a process\): ([^.]+)\.", TEXT)

    assert {kind: int(mib) for kind, mib in re.findall(r"(\w+) (\d+)", said)} == slow.RSS_MAX_MIB
    assert f"below {slow.OUTBOX_MAX_ROWS:,} rows" in TEXT.replace("\n", " ")
    assert f"below {slow.BELT_MAX_MAILS:,} mails" in TEXT.replace("\n", " ")
