"""The document of specifications names what is there: its tests and modules exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "specifications.md").read_text(encoding="utf-8")
ROWS = [line for line in TEXT.splitlines() if line.startswith("|") and not re.match(r"\|[-|]+\|$|\| clause \|", line)]
ADRS = sorted((ROOT / "docs" / "adr").glob("0*.md"))
_TEST = re.compile(r"`(test_\w+)`")
_PATH = re.compile(r"`((?:services|hayabin|tests|benchmarks|proto)/[\w./-]+)`")


def _tests_of_the_repository() -> set[str]:
    return {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def test_tests_that_the_specifications_name_exist() -> None:
    """A clause whose test was renamed or dropped is a promise that nobody keeps."""
    named = set(_TEST.findall(TEXT))

    assert len(named) > 100
    assert sorted(named - _tests_of_the_repository()) == []


def test_modules_that_the_specifications_name_exist() -> None:
    """Who follows a clause to its module finds it."""
    named = set(_PATH.findall(TEXT))

    assert len(named) > 30
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_every_clause_has_a_module_and_a_test() -> None:
    """Each row names the clause, what is done, where, and the test; "the same" stands for the cell above."""
    for row in ROWS:
        clause, done, module, tests = (cell.strip() for cell in row.strip("|").split("|"))
        assert "§" in clause or clause.startswith("RFC"), row
        assert done, row
        assert _PATH.search(module) or module.startswith("the same"), row
        assert _TEST.search(tests) or tests.startswith("the same"), row


@pytest.mark.parametrize(
    "number",
    [
        "5321",
        "5322",
        "2920",
        "1870",
        "6152",
        "6531",
        "3207",
        "7505",
        "8461",
        "7672",
        "6376",
        "8463",
        "3461",
        "3462",
        "3463",
        "3464",
    ],
)
def test_specification_that_the_engine_promises_is_gone_through(number: str) -> None:
    """Every RFC that the delivery engine was to go through clause by clause has rows with clauses."""
    heading = re.search(rf"^#.*RFC {number}\b", TEXT, re.MULTILINE)

    assert heading or any(re.match(rf"\| RFC {number} (§|\|)", row) or f"RFC {number} §" in row for row in ROWS)


@pytest.mark.parametrize("path", ADRS, ids=lambda path: path.stem)
def test_checks_that_a_decision_names_exist(path: Path) -> None:
    """A decision whose check is gone is a wish."""
    text = path.read_text(encoding="utf-8")

    assert [file for file in _PATH.findall(text) if not (ROOT / file).exists()] == []
    assert sorted(set(_TEST.findall(text)) - _tests_of_the_repository()) == []


def test_modules_of_the_architecture_exist_and_those_of_the_dispatcher_are_all_there() -> None:
    """The table of where each behaviour lives leaves no module of the engine out, and names none that is gone."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(_PATH.findall(text))
    there = {str(path.relative_to(ROOT)) for path in (ROOT / "services" / "dispatcher").glob("*.py")}
    wiring = {"services/dispatcher/__init__.py", "services/dispatcher/settings.py"}

    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
    assert sorted(there - named - wiring) == []
