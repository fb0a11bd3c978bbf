"""A server of Debian in a tree of its own: its files at their usual places, its user names, and nothing else.

Promises: a server sees its tree as the whole file system (``chroot``), so that no folder, user or configuration of the
machine is touched or needed. Who is root starts servers as root; anybody else starts them as root of a user namespace,
where other users are ids that belong to him (``/etc/subuid``), and no more.
Fails with ``ServerMissing`` where ``scripts/receivers`` cannot make the trees.
"""

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.support import instances
from tests.support.instances import ServerMissing

REPOSITORY = Path(__file__).resolve().parents[3]
BUILT = REPOSITORY / "build" / "receivers"
# Debian gives ids from 60000 to 64999 to packages by hand, and the last of them to nobody.
SERVICE_ID, QUEUE_ID, MAILBOX_ID = 64900, 64901, 64902
NOBODY_ID = 65534


@dataclass
class Tree:
    """One server's tree below ``folder``; ``owners`` are the paths that are not root's, with their ids."""

    folder: Path
    owners: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """What the server sees as ``/``."""
        return self.folder / "root"

    def copy(self, name: str) -> None:
        """Fill it with what ``scripts/receivers`` unpacked."""
        subprocess.run(["cp", "-R", "--preserve=mode,links", BUILT / name, self.root], check=True)
        self.make_folder("tmp", mode=0o1777)
        self.write("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n")
        self.write("etc/hosts", "127.0.0.1 localhost\n")

    def name_users(self, users: Mapping[str, int], groups: Mapping[str, int]) -> None:
        """Write down the users, each with the group of the same id, and further groups."""
        everybody = {"root": 0, **users}
        people = [f"{name}:x:{number}:{number}::/:/bin/sh" for name, number in everybody.items()]
        all_groups = {**everybody, **groups}
        self.write("etc/passwd", "\n".join(people) + "\n")
        self.write("etc/group", "".join(f"{name}:x:{number}:\n" for name, number in all_groups.items()))

    def make_folder(self, path: str, *, mode: int = 0o755, owner: int = 0, group: int | None = None) -> None:
        """Make a folder."""
        folder = self.root / path
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(mode)
        self._give(path, owner, group)

    def write(self, path: str, text: str, *, mode: int = 0o644, owner: int = 0) -> None:
        """Write a file."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(text, encoding="utf-8")
        file.chmod(mode)
        self._give(path, owner, None)

    def command(self, *command: str, user_id: int = 0) -> tuple[str, ...]:
        """Give the command that runs ``command`` with the tree as its file system."""
        quoted = shlex.quote(str(self.root))
        gifts = [f"chown {user}:{group} {quoted}/{shlex.quote(path)}" for path, (user, group) in self.owners.items()]
        options = f"--userspec={user_id}:{user_id} " if user_id else ""
        script = "; ".join([*gifts, f"exec chroot {options}{quoted} {shlex.join(command)}"])
        return (*as_some_root(), "/bin/sh", "-ec", script)

    def _give(self, path: str, owner: int, group: int | None) -> None:
        if owner or group:
            self.owners[path] = (owner, owner if group is None else group)


@cache
def build() -> None:
    """Make what the trees are copied from, where it is not there.

    Raises: ServerMissing
    """
    done = subprocess.run([REPOSITORY / "scripts" / "receivers"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ServerMissing(f"scripts/receivers failed:\n{done.stdout}{done.stderr}")


def as_some_root() -> tuple[str, ...]:
    """Give the prefix of a command that needs several users: none for root, a user namespace for anybody else."""
    return () if os.geteuid() == 0 else ("unshare", "--user", "--map-root-user", "--map-auto", "--")


def let_us_read(path: Path) -> None:
    """Make what a server stored readable for us; root reads everything."""
    if os.geteuid() != 0 and path.exists():
        _as_some_root(["chmod", "-R", "a+rX", str(path)])


def remove_folder(folder: Path) -> None:
    """Remove a receiver's folder with what other users own in it."""
    if os.geteuid() != 0:
        _as_some_root(["rm", "-rf", str(folder)])
    instances.remove_folder(folder)


def _as_some_root(command: Sequence[str]) -> None:
    subprocess.run([*as_some_root(), *command], check=False, capture_output=True)


def copy_modules(name: str, to: Path) -> None:
    """Copy the ``node_modules`` that ``scripts/receivers`` installed."""
    subprocess.run(["cp", "-R", "--preserve=mode,links", BUILT / name / "node_modules", to], check=True)
