"""The services as real processes, for e2e tests and benchmarks.

Promises: each process has its own admin port and log file; ``start`` returns when ``/readyz`` holds; the end of the block
stops all of them with SIGTERM and kills what does not go.
Fails: ``ServiceFailed`` quotes the end of the log of a process that does not become ready.
"""

import base64
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.instances import free_port

COMMANDS = {
    "api": ("services.api.main", "serve"),
    "scheduler": ("services.api.main", "scheduler"),
    "renderer": ("services.renderer.main",),
    "dispatcher": ("services.dispatcher.main",),
    "tracker": ("services.tracker.main",),
    "bounce": ("services.bounce.main",),
}
READY_TIMEOUT_S = 60.0


class ServiceFailed(RuntimeError):
    """A process ended, or did not become ready."""


def new_secret() -> str:
    """32 random bytes in base64."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


@dataclass(slots=True)
class Service:
    """One running process."""

    name: str
    process: subprocess.Popen[bytes]
    admin_port: int
    log: Path

    @property
    def ready(self) -> bool:
        """Whether ``/readyz`` holds."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.HTTPError):
            return False

    def tail(self, size: int = 3000) -> str:
        """The end of the log."""
        return self.log.read_text(errors="replace")[-size:]

    def cpu_s(self) -> float:
        """CPU seconds so far, user and system."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self) -> int:
        """Resident memory."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class System:
    """The processes and what they share."""

    folder: Path
    environment: dict[str, str]
    services: list[Service] = field(default_factory=list)
    code: Path | None = None  # another tree of the code than this one

    def start(self, kind: str, *, name: str = "", **variables: str) -> Service:
        """Start a service with extra ``HAYABIN_`` variables (given without the prefix) and wait until it is ready."""
        service = self.launch(kind, name=name, **variables)
        self.wait_ready(service)
        return service

    def launch(
        self, kind: str, environment: Mapping[str, str] | None = None, /, *, name: str = "", **variables: str
    ) -> Service:
        """Start a service and do not wait; ``environment`` goes to the process as it is."""
        port = free_port()
        whole = {
            **{key: value for key, value in os.environ.items() if not key.startswith("HAYABIN_")},
            **(environment or {}),
            **self.environment,
            "HAYABIN_ADMIN_HOST": "127.0.0.1",
            "HAYABIN_ADMIN_PORT": str(port),
            **{f"HAYABIN_{key.upper()}": value for key, value in variables.items()},
        }
        log = self.folder / f"{name or kind}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *COMMANDS[kind]], env=whole, stdout=output, stderr=output, cwd=self.code
            )
        service = Service(name or kind, process, port, log)
        self.services.append(service)
        return service

    def wait_ready(self, service: Service) -> None:
        """Wait for ``/readyz``."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not service.ready:
            if service.process.poll() is not None:
                raise ServiceFailed(f"{service.name} ended with {service.process.returncode}:\n{service.tail()}")
            if time.monotonic() > deadline:
                raise ServiceFailed(f"{service.name} is not ready:\n{service.tail()}")
            time.sleep(0.05)

    def stop(self, service: Service, *, grace_s: float = 30.0) -> int:
        """SIGTERM, wait, kill if need be; returns the exit status."""
        if service.process.poll() is None:
            service.process.send_signal(signal.SIGTERM)
            try:
                service.process.wait(grace_s)
            except subprocess.TimeoutExpired:
                service.process.kill()
                service.process.wait()
        if service in self.services:
            self.services.remove(service)
        return service.process.returncode


@contextmanager
def running_system(folder: Path, database_url: str, broker_url: str, **variables: str) -> Iterator[System]:
    """A system without services yet; what is started in the block ends with it."""
    environment = {
        "HAYABIN_DATABASE_URL": database_url,
        "HAYABIN_BROKER_URL": broker_url,
        "HAYABIN_MASTER_KEY": new_secret(),
        "HAYABIN_TOKEN_SECRET": new_secret(),
        "HAYABIN_RETURN_PATH_DOMAIN": "bounce.hayabin.example",
        **{f"HAYABIN_{key.upper()}": value for key, value in variables.items()},
    }
    system = System(folder, environment)
    try:
        yield system
    finally:
        for service in list(system.services):
            service.process.send_signal(signal.SIGTERM)
        for service in list(system.services):
            system.stop(service)


@contextmanager
def helper_process(module: str, config: Mapping[str, object], folder: Path) -> Iterator[dict[str, object]]:
    """A support server (``tests.support.dns_zone`` …) as a process; yields the JSON line that it prints when ready."""
    path = folder / f"{module.rpartition('.')[2]}-{secrets.token_hex(4)}.json"
    path.write_text(json.dumps(config))
    process = subprocess.Popen([sys.executable, "-m", module, "--config", str(path)], stdout=subprocess.PIPE)
    try:
        line = process.stdout.readline() if process.stdout else b""
        if not line:
            raise ServiceFailed(f"{module} did not start")
        yield json.loads(line)
    finally:
        process.terminate()
        process.wait()
        if process.stdout:
            process.stdout.close()
