"""Each crash point is reached at one place of the code, and an armed process dies there; an unarmed one does not."""

import ast
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from hayabin.crash_points import CrashPoint

ROOT = Path(__file__).parents[3]
LIVES = """
import sys
from hayabin.crash_points import CrashPoint, arm, reach
arm(sys.argv[1])
for name in sys.argv[2:]:
    reach(CrashPoint(name))
    print(name, flush=True)
"""


def reached(tree: ast.AST) -> Iterator[str]:
    """The members of ``CrashPoint`` that a file reaches; what is reached and is no member by name is a breach."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Name(id="reach"),
                args=[ast.Attribute(value=ast.Name(id="CrashPoint"), attr=name)],
                keywords=[],
            ):
                yield name
            case ast.Call(func=ast.Name(id="reach") | ast.Attribute(value=ast.Name(id="crash_points"), attr="reach")):
                yield f"{ast.unparse(node)} in line {node.lineno}"


def life(spec: str, *names: str) -> subprocess.CompletedProcess[str]:
    """A process that is armed and reaches these points one after another, and says so each time."""
    return subprocess.run(
        [sys.executable, "-c", LIVES, spec, *names], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_each_crash_point_is_reached_at_exactly_one_place() -> None:
    """Proves that the names are all boundaries that there are, and that none of them is dead or stands twice."""
    files = [file for package in ("hayabin", "services") for file in (ROOT / package).rglob("*.py")]
    places = Counter(name for file in files for name in reached(ast.parse(file.read_text(encoding="utf-8"))))
    assert places == Counter(point.name for point in CrashPoint)


def test_place_that_names_no_crash_point_is_seen() -> None:
    """Proves that the search above sees a place whose point only shows when it runs."""
    assert list(reached(ast.parse("reach(CrashPoint.API_COMMITTED)\nreach(point)\ncrash_points.reach(p)"))) == [
        "API_COMMITTED",
        "reach(point) in line 2",
        "crash_points.reach(p) in line 3",
    ]


def test_names_of_crash_points_say_where_they_are() -> None:
    """Proves that settings, which name a point by its value, can be told from the member's name and back."""
    assert all(point.value == point.name.lower().replace("_", ".", 1) for point in CrashPoint)


@pytest.mark.parametrize("point", list(CrashPoint))
def test_arm_takes_each_name(point: CrashPoint) -> None:
    """Proves that every point kills the process at once when it is armed by its name alone."""
    ended = life(point.value, point.value)
    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, "")


@pytest.mark.parametrize("times", [1, 2, 5])
def test_armed_process_dies_at_the_nth_time_and_not_before(times: int) -> None:
    """Proves that the process passes the point n - 1 times, ends by SIGKILL at the n-th, and others do not count."""
    here, other = CrashPoint.RELAY_TAKEN.value, CrashPoint.RELAY_PUBLISHED.value
    ended = life(f"{here}@{times}", *[here, other] * 6)
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout.split() == [here, other] * (times - 1)


def test_arm_takes_several_points_and_spaces_between_them() -> None:
    """Proves that each of them is armed for itself; the first that is due ends the process."""
    first, second = CrashPoint.GATE_CLAIMED.value, CrashPoint.SMTP_REPLIED.value
    ended = life(f" {first}@9 , {second}@2,", first, second, first, second, first)
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout.split() == [first, second, first]


@pytest.mark.parametrize("spec", ["", " ", ","])
def test_unarmed_process_reaches_every_point_and_lives(spec: str) -> None:
    """Proves that an empty text arms nothing."""
    names = [point.value for point in CrashPoint]
    ended = life(spec, *names)
    assert (ended.returncode, ended.stdout.split()) == (0, names)


@pytest.mark.parametrize("spec", ["nowhere", "relay", "RELAY_TAKEN", "relay.taken@x", "relay.taken;x"])
def test_arm_refuses_what_it_does_not_know(spec: str) -> None:
    """Proves that a misspelt point does not pass for a test in which nothing broke."""
    ended = life(spec, CrashPoint.RELAY_TAKEN.value)
    assert ended.returncode == 1
    assert "ValueError" in ended.stderr
    assert ended.stdout == ""
