"""``hayabin demo`` and ``hayabin up`` as people run them: exit codes, the report, and nothing left behind."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from services.standalone import reach
from services.standalone.places import open_places

ROOT = Path(__file__).parents[3]
TIMEOUT_S = 220


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state folder that the tests of this file share, in their order."""
    folder = tmp_path_factory.mktemp("standalone") / ".hayabin"
    yield folder
    reach.remove_data(open_places(folder).postgres)


def command(*arguments: str) -> list[str]:
    """The command line."""
    return [sys.executable, "-m", "services.standalone.command", *arguments]


def processes_of(state: Path) -> list[str]:
    """Processes that have the state folder in their command line, folder or environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                known = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                known += bytes((entry / "cwd").readlink())
            except OSError:
                continue
            if bytes(state) in known:
                found.append(entry.name)
    return found


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
def test_demo_small_run_holds_every_finding_and_leaves_no_process(state: Path) -> None:
    """The whole story with 200 rows, without a terminal: exit code 0, each finding marked, the figures in the report."""
    run = subprocess.run(
        command("demo", "--contacts", "200", "--state-dir", str(state)),
        cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("✓") > 35
    assert "✗" not in run.stdout
    for line in (r"198\s+audience \(2 rows", r"1\s+complained", r"2 rows refused", r"\d+ user_unknown", r"due"):
        assert re.search(line, run.stdout), line
    assert processes_of(state) == []


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
def test_up_killed_after_the_demo_leaves_no_process_and_its_data(state: Path) -> None:
    """`up` comes back with the campaign and the mails of the demo; SIGKILL of it alone ends everything that it started."""
    process, _ = start_up(state)
    with httpx.Client(headers=key_of(state), timeout=20, trust_env=False) as client:
        campaigns = client.get(url_of(state, "api", "/v1/campaigns")).json()["items"]
        mailbox = client.get(url_of(state, "mailbox", "/?lang=en&q=新茶")).text
    assert [campaign["state"] for campaign in campaigns] == ["completed", "completed"]
    assert "新茶" in mailbox
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 15
    while processes_of(state) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(state) == []


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
def test_up_again_after_a_kill_finds_its_data_and_stops_cleanly_at_ctrl_c(state: Path) -> None:
    """Nothing of the killed run is in the way; a second `up` is turned away; Ctrl-C ends with 0 and without a trace."""
    process, said = start_up(state)
    with httpx.Client(headers=key_of(state), timeout=20, trust_env=False) as client:
        campaigns = client.get(url_of(state, "api", "/v1/campaigns")).json()["items"]
    second = subprocess.run(
        command("up", "--state-dir", str(state)), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert len(campaigns) == 2
    assert second.returncode == 1
    assert f"process {process.pid}" in second.stderr
    assert process.returncode == 0, said + rest
    assert "Stopped; the data stays" in rest
    assert processes_of(state) == []


def start_up(state: Path) -> tuple[subprocess.Popen[str], str]:
    """`hayabin up`, up; and what it said until then."""
    process = subprocess.Popen(command("up", "--state-dir", str(state)), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if "Hayabin is up" in line:
            return process, said
    raise AssertionError(said)


def key_of(state: Path) -> dict[str, str]:
    """The header that names the demo's tenant."""
    kept = json.loads((state / "secrets.json").read_text(encoding="utf-8"))
    return {"Authorization": f"Bearer {kept['api_key']}"}


def url_of(state: Path, name: str, path: str) -> str:
    """An address of the running state folder."""
    ports = json.loads((state / "ports.json").read_text(encoding="utf-8"))
    return f"http://127.0.0.1:{ports[name]}{path}"
