"""A receiving SMTP server that misbehaves as told; in-process or ``python -m tests.support.scripted_mx --config FILE``.

The configuration is JSON (behaviours: see ``mx_behaviour``)::

    {"journal": "mx.jsonl", "store": "mails", "fsync": true,
     "listeners": [{"address": "127.0.0.2", "port": 0, "name": "mx1.example.jp", "manners": "starttls; close-after 100",
                    "recipients": {"grey.example": "greylist 1", "nobody@": "reject rcpt 550 5.1.1 no", "*": "accept"}}]}

``manners`` hold for whole sessions: starttls, no-pipelining, no-8bitmime, no-size, size N, smtputf8, close-after N,
split (replies byte by byte), lf (replies end in a bare LF), helo-only, slow S, and any behaviour at a stage.
The process prints one JSON line with its listeners' ports when it is ready, and ends on SIGTERM.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from pathlib import Path
from typing import Self

from tests.support.mx_journal import Entry, Journal
from tests.support.mx_script import Listener, Record, Script
from tests.support.mx_session import Session

__all__ = ["Journal", "Listener", "ScriptedMx"]


class ScriptedMx:
    """Some listeners with one journal; use as an async context manager."""

    def __init__(self, *listeners: Listener, journal: Journal | None = None, same_port: bool = False) -> None:
        """Prepare; nothing listens yet. ``same_port``: all take the port that the first one gets."""
        self.listeners = listeners
        self._same_port = same_port
        self.record = Record(journal or Journal())
        self.ports: list[int] = []
        self._servers: list[asyncio.Server] = []
        self._sessions: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port of the first listener."""
        return self.ports[0]

    @property
    def entries(self) -> list[Entry]:
        """The journal so far."""
        return self.record.journal.entries

    async def __aenter__(self) -> Self:
        for listener in self.listeners:
            script = Script(listener)

            async def serve(
                reader: asyncio.StreamReader,
                writer: asyncio.StreamWriter,
                script: Script = script,
            ) -> None:
                task = asyncio.current_task()
                if task is not None:
                    self._sessions.add(task)
                    task.add_done_callback(self._sessions.discard)
                with contextlib.suppress(asyncio.CancelledError):  # the server ends: no loss to report
                    await Session(self.record, script, reader, writer).run()

            port = self.ports[0] if self._same_port and self.ports else listener.port
            server = await asyncio.start_server(serve, listener.address, port, backlog=512)
            self._servers.append(server)
            self.ports.append(server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *exc: object) -> None:
        for server in self._servers:
            server.close()
        for task in list(self._sessions):
            task.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)
        self.record.journal.close()


def load(config: dict[str, object], base: Path) -> ScriptedMx:
    """Build a server from a parsed configuration file; relative paths are below ``base``."""
    listeners = [Listener(**entry) for entry in config["listeners"]]  # type: ignore[attr-defined]
    journal, store = config.get("journal"), config.get("store")
    return ScriptedMx(
        *listeners,
        journal=Journal(
            base / str(journal) if journal else None,
            store=base / str(store) if store else None,
            fsync=bool(config.get("fsync")),
        ),
    )


async def main() -> None:
    """Run until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description="scripted SMTP receiver")
    parser.add_argument("--config", type=Path, required=True)
    path: Path = parser.parse_args().config
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with load(json.loads(path.read_text(encoding="utf-8")), path.parent.absolute()) as mx:
        ready = [
            {"name": listener.name, "address": listener.address, "port": port}
            for listener, port in zip(mx.listeners, mx.ports, strict=True)
        ]
        sys.stdout.write(json.dumps({"ready": True, "listeners": ready}) + "\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
