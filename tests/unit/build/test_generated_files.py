"""What is generated or compiled cannot go out of date unnoticed."""

import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.proto import SOURCES, TARGET, committed, drift, generate

ROOT = Path(__file__).resolve().parents[3]


def test_contracts_committed_equal_what_the_compiler_makes() -> None:
    """The generated code in the repository belongs to the .proto files beside it."""
    assert drift(generate(SOURCES), committed(TARGET)) == []


def test_contracts_field_added_is_named_as_drift(tmp_path: Path) -> None:
    """A changed, a new and a removed .proto file each show as the files that are out of date."""
    sources = tmp_path / "proto"
    shutil.copytree(SOURCES, sources)
    folder = sources / "hayabin" / "v1"
    dispatch = folder / "dispatch.proto"
    dispatch.write_text(
        dispatch.read_text(encoding="utf-8").replace("message Mail {", "message Mail {\n  bool x = 99;")
    )
    (folder / "event.proto").unlink()
    (folder / "new.proto").write_text('syntax = "proto3";\npackage hayabin.v1;\nmessage New {}\n', encoding="utf-8")
    names = ("dispatch", "event", "new")
    expected = sorted(f"{name}_pb2.{ending}" for name in names for ending in ("py", "pyi"))
    assert drift(generate(sources), committed(TARGET)) == expected


@pytest.mark.parametrize(
    ("old", "new", "agrees"),
    [
        ("", "", True),
        ('version = "0.1.0"', 'version = "0.2.0"', True),
        ('"asyncpg>=', '"asyncpg>=99.', False),
        ('bounce = ["aiosmtpd', 'bounce = ["idna", "aiosmtpd', False),
    ],
)
def test_lock_check_agrees_only_with_the_dependencies_it_was_made_from(
    tmp_path: Path, old: str, new: str, agrees: bool
) -> None:
    """A changed dependency is noticed without the network; other changes of pyproject.toml are none."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "lock", tmp_path / "scripts" / "lock")
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert old in project
    (tmp_path / "pyproject.toml").write_text(project.replace(old, new, 1), encoding="utf-8")
    done = subprocess.run([tmp_path / "scripts" / "lock", "--check"], check=False, capture_output=True, text=True)
    assert (done.returncode == 0) is agrees, done.stderr
    assert agrees or "make lock" in done.stderr
