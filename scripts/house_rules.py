"""Checks the rules of this house that no linter knows; prints ``path:line: rule`` for each breach and exits 1.

Promises: a file is read as syntax, so a comment or a docstring that speaks of ``os.environ`` is no breach.
The rules: no module is called by a word that says nothing; the environment is read by settings alone; the state of a
message is written by the ledger alone; the domain imports the standard library and ``idna``, and does no I/O.
Fails with ``SyntaxError`` on a file that is not Python.
"""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("hayabin", "services", "tests", "scripts", "benchmarks")

EMPTY_WORDS = frozenset({"util", "helper", "manager", "common", "data", "process", "misc"})
ENVIRONMENT = frozenset({"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"})
STATE_WRITE = re.compile(
    r"\bUPDATE\s+(?:ONLY\s+)?messages\b(?:(?!\b(?:FROM|WHERE|RETURNING)\b).)*?(?:\bSET\s+|,\s*|\(\s*)state\b\s*[=,)]",
    re.IGNORECASE | re.DOTALL,
)
DOMAIN_IMPORTS = frozenset(sys.stdlib_module_names) | {"idna", "hayabin"}
DOMAIN_FORBIDDEN = frozenset({
    "asyncio", "concurrent", "ftplib", "http", "io", "logging", "multiprocessing", "os", "pathlib", "random", "select",
    "selectors", "shutil", "signal", "smtplib", "socket", "socketserver", "sqlite3", "ssl", "subprocess", "sys",
    "tempfile", "threading", "time", "urllib",
})  # fmt: skip


@dataclass(frozen=True, order=True)
class Breach:
    """One breach of a rule."""

    path: str
    line: int
    rule: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}"


def breaches(path: str, source: str) -> list[Breach]:
    """List what a file breaks; ``path`` is relative to the repository, with slashes."""
    tree = ast.parse(source, path)
    place = PurePosixPath(path)
    found = [Breach(path, 1, f"{word!r} says nothing: name it for what it does") for word in empty_words(place)]
    if place.parts[0] in {"hayabin", "services"}:
        if not reads_environment(place):
            found += [Breach(path, line, "only settings read the environment") for line in environment_reads(tree)]
        if not path.startswith("hayabin/database/ledger"):
            found += [Breach(path, line, "only the ledger writes a message's state") for line in state_writes(tree)]
    if place.parts[:2] == ("hayabin", "domain"):
        found += [Breach(path, line, f"the domain is pure: no {name}") for line, name in impure_imports(tree)]
    return sorted(found)


def empty_words(place: PurePosixPath) -> Iterator[str]:
    """Yield the parts of a path that are words without meaning, singular or plural."""
    for part in (*place.parts[:-1], place.stem):
        if part in EMPTY_WORDS or part.removesuffix("s") in EMPTY_WORDS:
            yield part


def reads_environment(place: PurePosixPath) -> bool:
    """Say whether the file is settings, or the launch of the standalone processes."""
    return place.name == "settings.py" or place.parts[:2] == ("services", "standalone")


def environment_reads(tree: ast.AST) -> Iterator[int]:
    """Yield the lines that read or write the process environment."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="os"), attr=name) if name in ENVIRONMENT:
                yield node.lineno
            case ast.ImportFrom(module="os", names=names) if ENVIRONMENT & {alias.name for alias in names}:
                yield node.lineno


def state_writes(tree: ast.AST) -> Iterator[int]:
    """Yield the lines of SQL that sets ``messages.state``; pieces of an f-string are read together."""
    inside = {id(piece) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for piece in node.values}
    for node in ast.walk(tree):
        match node:
            case ast.JoinedStr(values=values):
                text = "".join(str(piece.value) if isinstance(piece, ast.Constant) else " ? " for piece in values)
            case ast.Constant(value=str(text)) if id(node) not in inside:
                pass
            case _:
                continue
        if STATE_WRITE.search(text):
            yield node.lineno


def impure_imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and name of every import that the domain may not have."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                modules = [alias.name for alias in names]
            case ast.ImportFrom(module=str(module), level=0):
                modules = [module]
            case _:
                continue
        for module in modules:
            top = module.partition(".")[0]
            own = not module.startswith("hayabin") or module.startswith("hayabin.domain")
            if top not in DOMAIN_IMPORTS or top in DOMAIN_FORBIDDEN or not own:
                yield node.lineno, module


def main() -> int:
    """Check every Python file of the repository."""
    found: list[Breach] = []
    for folder in FOLDERS:
        for file in sorted((ROOT / folder).rglob("*.py")):
            found += breaches(file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8"))
    for breach in found:
        print(breach)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
