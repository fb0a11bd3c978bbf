"""``hayabin demo`` and ``hayabin up`` as people run them: exit codes, the report, and nothing left behind."""

import json
import re
import signal
import subprocess
import sys
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
def test_up_after_demo_shows_its_data_and_stops_cleanly_at_ctrl_c(state: Path) -> None:
    """`up` comes back with the campaign and the mails of the demo; Ctrl-C ends it with 0 and without a trace."""
    process = subprocess.Popen(command("up", "--state-dir", str(state)), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if "Hayabin is up" in line:
            break
    key = json.loads((state / "secrets.json").read_text(encoding="utf-8"))["api_key"]
    ports = json.loads((state / "ports.json").read_text(encoding="utf-8"))
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(headers=headers, timeout=20, trust_env=False) as client:
        campaigns = client.get(f"http://127.0.0.1:{ports['api']}/v1/campaigns").json()["items"]
        mailbox = client.get(f"http://127.0.0.1:{ports['mailbox']}/?lang=en&q=新茶").text
    second = subprocess.run(
        command("up", "--state-dir", str(state)), cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert [campaign["state"] for campaign in campaigns] == ["completed", "completed"]
    assert "新茶" in mailbox
    assert second.returncode == 1
    assert f"process {process.pid}" in second.stderr
    assert process.returncode == 0, said + rest
    assert "Stopped; the data stays" in rest
    assert processes_of(state) == []
