"""The part of a Dockerfile that can be judged without an engine: stages, instructions, and which files a build copies.

Promises: ``COPY`` from the context is really done, with ``.dockerignore`` applied.
Fails: ``FileNotFoundError`` where a copied path is not in the context.
"""

import re
import shlex
import shutil
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path


@dataclass
class Stage:
    """One ``FROM`` and what follows it."""

    base: str
    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def arguments_of(self, instruction: str) -> list[str]:
        """Arguments of every such instruction, in order."""
        return [arguments for name, arguments in self.instructions if name == instruction]


def parse(text: str) -> list[Stage]:
    """The stages of a Dockerfile, continuation lines joined, comments dropped."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    stages: list[Stage] = []
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        instruction, _, arguments = line.strip().partition(" ")
        if instruction == "FROM":
            base, _, name = arguments.partition(" AS ")
            stages.append(Stage(base, name))
        elif instruction and stages:
            stages[-1].instructions.append((instruction, arguments.strip()))
    return stages


def copies(stage: Stage, service: str) -> list[tuple[str, str]]:
    """Source and destination of every ``COPY`` from the context, with the build argument filled in."""
    found = []
    for arguments in stage.arguments_of("COPY"):
        if not arguments.startswith("--from="):
            source, destination = shlex.split(arguments.replace("${SERVICE}", service))
            found.append((source, destination))
    return found


def build_files(stage: Stage, service: str, context: Path, root: Path) -> None:
    """Do the stage's ``COPY`` from the context into ``root``, which stands for ``/``.

    Raises:
        FileNotFoundError: a path that the stage copies is not there, or is ignored.
    """
    ignored = _ignore(context)
    for source, destination in copies(stage, service):
        origin, target = context / source, root / destination.lstrip("/")
        files = [origin] if origin.is_file() else [p for p in origin.rglob("*") if p.is_file()]
        taken = [p for p in files if not ignored(p.relative_to(context).as_posix())]
        if not taken:
            raise FileNotFoundError(f"COPY {source}: nothing of it is in the context")
        for path in taken:
            to = target / path.relative_to(origin) if origin.is_dir() else target
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to)


class _ignore:  # noqa: N801 - used as a function
    """The rules of ``.dockerignore``: the last that matches a path or a folder above it decides."""

    def __init__(self, context: Path) -> None:
        lines = (context / ".dockerignore").read_text().splitlines()
        self.rules = [
            (not line.startswith("!"), line.lstrip("!")) for line in lines if line and not line.startswith("#")
        ]

    def __call__(self, path: str) -> bool:
        parts = path.split("/")
        above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        result = False
        for ignore, pattern in self.rules:
            if any(_matches(candidate, pattern) for candidate in above):
                result = ignore
        return result


def _matches(path: str, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return fnmatch(path.rpartition("/")[2], pattern[3:])
    return path.count("/") == pattern.count("/") and fnmatch(path, pattern)
