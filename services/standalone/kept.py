"""What a state folder remembers from run to run: its secrets and its ports.

Promises: secrets are random, made once, and readable by their owner alone; a port is the one of the last run where that
is still free, then the preferred one, then any. Files are replaced, never half written.
Fails: ``ValueError`` for a file that somebody edited into something else.
"""

import base64
import json
import random
import secrets
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

# Below the range that Linux gives to outgoing connections (32768-60999): a port stays free between stop and start.
PORTS = range(18000, 32000)


@dataclass(frozen=True, slots=True)
class Secrets:
    """The keys of one state folder; ``api_key`` is empty before the first tenant exists."""

    master_key: str
    token_secret: str
    database_password: str
    api_key: str = ""

    def __repr__(self) -> str:
        """Nothing that could end in a log."""
        return "Secrets(...)"


def keep_secrets(path: Path) -> Secrets:
    """Read the folder's secrets, or make them."""
    if path.exists():
        return _read(path)
    fresh = Secrets(_random_key(), _random_key(), secrets.token_urlsafe(24))
    write_secrets(path, fresh)
    return fresh


def write_secrets(path: Path, kept: Secrets) -> None:
    """Replace the file."""
    _replace(path, json.dumps(asdict(kept), indent=2) + "\n")


def keep_ports(path: Path, wanted: Mapping[str, int]) -> dict[str, int]:
    """A port of 127.0.0.1 for each name.

    Shape: ``wanted`` gives each name its preferred port, or 0 for none.
    """
    last: dict[str, int] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    chosen: dict[str, int] = {}
    for name, preferred in wanted.items():
        choices = [port for port in (last.get(name, 0), preferred) if port and port not in chosen.values()]
        chosen[name] = next((port for port in choices if _is_free(port)), 0) or _any_port(set(chosen.values()))
    _replace(path, json.dumps(chosen, indent=2) + "\n")
    return chosen


def _any_port(taken: set[int]) -> int:
    for port in random.SystemRandom().sample(PORTS, 500):
        if port not in taken and _is_free(port):
            return port
    raise OSError(f"no free port between {PORTS.start} and {PORTS.stop}")


def _is_free(port: int) -> bool:
    """Whether nobody listens on the port, on any address: our sandbox needs it on several of 127.0.0.0/8."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True


def _random_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode("ascii")


def _read(path: Path) -> Secrets:
    try:
        return Secrets(**json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is not what Hayabin wrote; remove the folder's content with --fresh") from error


def _replace(path: Path, text: str) -> None:
    unfinished = path.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600)
    unfinished.write_text(text, encoding="utf-8")
    unfinished.rename(path)
