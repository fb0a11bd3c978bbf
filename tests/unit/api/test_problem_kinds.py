"""The table of problems and the code agree."""

import ast
from pathlib import Path

from services.api.problem_kinds import KINDS

API = Path(__file__).resolve().parents[3] / "services" / "api"
RENDER = {"merge-field-missing", "render-limit-exceeded", "render-failed"}


def _used() -> set[str]:
    """The second argument of every ``Problem(status, kind, …)`` that is written out."""
    found = set()
    for path in API.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Name(id="Problem"), args=[_, ast.Constant(value=str(kind)), *_]):
                    found.add(kind)
                case ast.Dict(keys=[ast.Constant(value=404), *_], values=values) if path.name == "problems.py":
                    found |= {str(v.value) for v in values if isinstance(v, ast.Constant) and "-" in str(v.value)}
    return {kind for kind in found if " " not in kind}


def test_every_kind_in_the_code_is_explained_and_every_explained_one_is_used() -> None:
    """A ``type`` always leads to an explanation, and the table has no dead entries."""
    assert _used() | RENDER | {"bad-request", "unavailable"} == set(KINDS)


def test_explanations_are_sentences() -> None:
    """Each says something and ends with a full stop."""
    assert all(text.endswith(".") and len(text) > 20 for text in KINDS.values())
