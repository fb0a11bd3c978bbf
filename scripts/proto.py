"""Generates ``hayabin/contracts/*_pb2.py`` and their stubs from ``proto/``, or checks that they are up to date.

Promises: the output depends only on the ``.proto`` files and on the pinned ``grpcio-tools``; ``--check`` writes nothing
and exits 1 naming each file that differs, is missing, or has no ``.proto`` any more. Fails with protoc's own message
and exit status when a ``.proto`` file cannot be compiled.
"""

import argparse
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "proto"
TARGET = ROOT / "hayabin" / "contracts"
SUFFIXES = ("_pb2.py", "_pb2.pyi")


def generate(sources: Path) -> dict[str, str]:
    """Compile every ``.proto`` under ``sources``; file name → text, flat, because the package has one version."""
    protos = sorted(str(path.relative_to(sources)) for path in sources.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        include = str(files("grpc_tools") / "_proto")
        arguments = [f"-I{sources}", f"-I{include}", f"--python_out={folder}", f"--pyi_out={folder}"]
        status = protoc.main(["protoc", *arguments, *protos])
        if status != 0:
            raise SystemExit(status)
        generated = [path for path in Path(folder).rglob("*") if path.name.endswith(SUFFIXES)]
        return {path.name: path.read_text(encoding="utf-8") for path in sorted(generated)}


def committed(target: Path) -> dict[str, str]:
    """Read the generated files that the repository holds."""
    return {path.name: path.read_text(encoding="utf-8") for path in target.glob("*_pb2.py*")}


def drift(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """Name every file whose text is not what the compiler makes of the ``.proto`` files."""
    return sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))


def write(expected: dict[str, str], target: Path) -> None:
    """Make ``target`` hold exactly the expected generated files."""
    target.mkdir(parents=True, exist_ok=True)
    for name in committed(target).keys() - expected.keys():
        (target / name).unlink()
    for name, text in expected.items():
        (target / name).write_text(text, encoding="utf-8")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Generate the contracts' Python code from proto/.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the committed code differs")
    check = parser.parse_args().check
    expected = generate(SOURCES)
    if not check:
        write(expected, TARGET)
        return 0
    stale = drift(expected, committed(TARGET))
    for name in stale:
        print(f"{TARGET.relative_to(ROOT)}/{name} does not match proto/: run `make proto` and commit", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
