"""A disk of a few hundred megabytes that can be filled up and freed again.

Promises: a file system of its own (tmpfs), which the user that servers run as owns; a full one answers ENOSPC as any disk
does; it is unmounted and removed at the end of the block, and also when the program that asked for it dies, whoever still
has files open on it.
Fails: ``DiskMissing`` says why where no file system can be mounted: only root may, and not in every container.
"""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import instances
from tests.support.instances import ServerMissing

CHUNKS_BYTES = (1_048_576, 4096)  # the last pages are filled too
# Waits for the end of its input, which comes with the end of whoever asked, in whatever way.
GUARD = 'read -r _; umount --lazy "$0"; rmdir "$0"'


class DiskMissing(ServerMissing):
    """No file system of a given size can be had here."""


class SmallDisk:
    """A folder with little room."""

    def __init__(self, folder: Path) -> None:
        """Keep the folder, which is a mount."""
        self.folder = folder
        self._ballast = folder / "ballast"

    @property
    def free_bytes(self) -> int:
        """How much room is left."""
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    def fill(self, *, leave_bytes: int = 0) -> None:
        """Write until so much is left: by default nothing, so that the next write of anybody gets ENOSPC."""
        with self._ballast.open("ab", buffering=0) as file:
            for chunk_bytes in CHUNKS_BYTES:
                while not leave_bytes or self.free_bytes - chunk_bytes >= leave_bytes:
                    try:
                        file.write(bytes(chunk_bytes))
                    except OSError as failure:
                        if failure.errno != errno.ENOSPC:
                            raise
                        break

    def free(self) -> None:
        """Give back what ``fill`` took."""
        self._ballast.unlink(missing_ok=True)


@contextmanager
def small_disk(size_mb: int) -> Iterator[SmallDisk]:
    """A disk of so many megabytes (of 2**20 bytes), for the length of the block.

    Raises: ``DiskMissing``.
    """
    if os.geteuid() != 0:
        raise DiskMissing("a small disk is a tmpfs mount, which only root may make")
    folder = instances.new_folder("hayabin-disk-")
    guard: subprocess.Popen[bytes] | None = None
    try:
        mount(folder, size_mb)
        guard = subprocess.Popen(["sh", "-c", GUARD, folder], stdin=subprocess.PIPE, start_new_session=True)
        yield SmallDisk(folder)
    finally:
        if guard is None:
            folder.rmdir()
        else:
            guard.communicate()  # closes its input


def mount(folder: Path, size_mb: int) -> None:
    """Mount an empty file system there.

    Raises: ``DiskMissing``.
    """
    user = instances.server_user()
    options = f"size={size_mb}m,mode=0700,uid={user.pw_uid},gid={user.pw_gid}"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise DiskMissing(f"a tmpfs cannot be mounted here (a container without SYS_ADMIN?): {done.stderr.strip()}")
