"""The supervised group with real processes: restarts, order of the stop, and nothing left behind."""

import asyncio
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from services.standalone.child import ChildFailed, ChildSpec
from services.standalone.reach import ServerUser
from services.standalone.supervisor import Supervisor


def child(tmp_path: Path, name: str, script: str, *, wave: int = 1, ready: bool = True) -> ChildSpec:
    """A child that runs a shell script."""

    async def answer() -> str:
        return "" if ready else "never"

    return ChildSpec(
        name=name,
        command=("sh", "-c", script),
        environment={"PATH": "/usr/bin:/bin"},
        folder=tmp_path,
        log=tmp_path / f"{name}.log",
        ready=answer,
        wave=wave,
        user=ServerUser(os.geteuid(), os.getegid()),
        start_timeout_s=1.0,
        stop_timeout_s=1.0,
    )


async def test_supervisor_killed_child_is_started_again_in_the_same_group(tmp_path: Path) -> None:
    """A child that dies comes back with a new process id, and the reporter hears of it."""
    said: list[str] = []
    async with Supervisor(said.append) as supervisor:
        await supervisor.start([child(tmp_path, "one", "sleep 60"), child(tmp_path, "two", "sleep 60")])
        first = supervisor.pids()
        os.kill(first["two"], signal.SIGKILL)
        await until(lambda: supervisor.pids()["two"] not in {0, first["two"]})
        second = supervisor.pids()
        assert second["one"] == first["one"]
        assert os.getpgid(second["two"]) == os.getpgid(second["one"]) != os.getpgid(0)
        assert "two ended with status -9" in said[0]


async def test_supervisor_all_children_killed_founds_a_new_group(tmp_path: Path) -> None:
    """The group's founder may die, the others too: they come back in a group that ends with the supervisor."""
    async with Supervisor(lambda _: None) as supervisor:
        await supervisor.start([child(tmp_path, "one", "sleep 60"), child(tmp_path, "two", "sleep 60")])
        first = supervisor.pids()
        for pid in first.values():
            os.kill(pid, signal.SIGKILL)
        await until(lambda: all(pid not in {0, first[name]} for name, pid in supervisor.pids().items()))
        pids = supervisor.pids().values()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


async def test_supervisor_stop_ends_lower_waves_first_and_kills_what_lingers(tmp_path: Path) -> None:
    """Order by wave; a child that ignores SIGTERM is killed, and so is a grandchild that it left in the group."""
    journal = tmp_path / "order"
    said: list[str] = []
    last = f"trap 'echo last >> {journal}; exit 0' TERM; while :; do sleep 0.05; done"
    first = f"trap 'sleep 0.3; echo first >> {journal}; exit 0' TERM; while :; do sleep 0.05; done"
    stubborn = "trap '' TERM; sleep 60 & echo $! > grandchild; while :; do sleep 0.05; done"
    async with Supervisor(said.append) as supervisor:
        await supervisor.start([child(tmp_path, "last", last, wave=2), child(tmp_path, "first", first)])
        await supervisor.start([child(tmp_path, "stubborn", stubborn, wave=3)])
        await until((tmp_path / "grandchild").exists)
        await asyncio.sleep(0.2)
    grandchild = int((tmp_path / "grandchild").read_text(encoding="ascii"))
    assert journal.read_text(encoding="ascii").split() == ["first", "last"]
    assert any("stubborn did not stop in time" in line for line in said)
    await until(lambda: not _lives(grandchild))


async def test_supervisor_in_a_hurry_does_not_wait_for_drains(tmp_path: Path) -> None:
    """The second Ctrl-C: what would drain for long is killed at once, wherever the stop was."""
    hurry = asyncio.Event()
    stubborn = replace(child(tmp_path, "stubborn", "trap '' TERM; while :; do sleep 0.05; done"), stop_timeout_s=60)
    async with Supervisor(lambda _: None, hurry) as supervisor:
        await supervisor.start([stubborn])
        await asyncio.sleep(0.2)
        pid = supervisor.pids()["stubborn"]
        asyncio.get_running_loop().call_later(0.3, hurry.set)
        started = time.monotonic()
    assert time.monotonic() - started < 5
    assert not _lives(pid)


async def test_supervisor_child_that_fails_to_start_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    """Who ends at once, and who never gets ready, is reported with what it last wrote; nothing stays running."""
    async with Supervisor(lambda _: None) as supervisor:
        with pytest.raises(ChildFailed, match=r"(?s)broken ended with status 3.*no such setting"):
            await supervisor.start([child(tmp_path, "broken", "echo no such setting >&2; exit 3", ready=False)])
    started = time.monotonic()
    async with Supervisor(lambda _: None) as supervisor:
        with pytest.raises(ChildFailed, match=r"slow was not ready after 1 s \(never\)"):
            await supervisor.start([child(tmp_path, "slow", "sleep 60", ready=False)])
        pid = supervisor.pids()["slow"]
    assert time.monotonic() - started < 5
    assert not Path(f"/proc/{pid}").exists()


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until(condition: object) -> None:
    """Wait until the condition holds."""
    for _ in range(300):
        if condition():  # type: ignore[operator]
            return
        await asyncio.sleep(0.02)
    raise AssertionError("not in time")
