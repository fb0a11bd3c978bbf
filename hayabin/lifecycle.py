"""Start and stop of a process: event loop, logs, traces, admin HTTP server, signals, draining.

Promises: SIGTERM or SIGINT sets ``Process.stopping``; main drains and returns; a second signal, or a drain that takes
longer than ``drain_timeout_s``, ends the process with status 1. ``/healthz`` answers while the loop turns, ``/readyz``
says by name which check does not hold.
Fails: an exception out of main is logged and ends the process with status 1.
"""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import uvicorn
import uvloop
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from hayabin.settings import ProcessSettings
from hayabin.telemetry import logging, tracing

Check = Callable[[], Awaitable[bool]]
_CHECK_TIMEOUT_S = 2.0


class Process:
    """What main is given: its name, its end, and where to say what readiness means."""

    def __init__(self, service: str, settings: ProcessSettings) -> None:
        """Name the process; nothing is started."""
        self.service = service
        self.settings = settings
        self.drain_timeout_s = settings.drain_timeout_s
        self.stopping = asyncio.Event()
        self.instance = settings.instance or f"{service}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._checks: dict[str, Check] = {}

    def ready(self, name: str, check: Check) -> None:
        """Add a condition to ``/readyz``."""
        self._checks[name] = check

    async def readiness(self) -> dict[str, bool]:
        """Each check by name; one that raises or hangs does not hold, and before main added any nothing is ready."""
        answer = {"running": not self.stopping.is_set(), "started": bool(self._checks)}
        for name, check in list(self._checks.items()):  # main may add one meanwhile
            try:
                answer[name] = await asyncio.wait_for(check(), _CHECK_TIMEOUT_S)
            except Exception as error:  # noqa: BLE001 - a broken check is a failed check, and is said
                logging.get_logger().warning("readiness_check_failed", check=name, error=repr(error))
                answer[name] = False
        return answer


def run(service: str, settings: ProcessSettings, main: Callable[[Process], Awaitable[None]]) -> None:
    """Run ``main`` until it returns or the process is told to stop; exits the interpreter with the status."""
    status = uvloop.run(_supervise(service, settings, main))
    sys.exit(status)


async def _supervise(service: str, settings: ProcessSettings, main: Callable[[Process], Awaitable[None]]) -> int:
    process = Process(service, settings)
    logging.setup(service, process.instance, settings.log_level)
    provider = tracing.setup(
        service, process.instance, otlp_endpoint=settings.otlp_endpoint, trace_file=settings.trace_file
    )
    log = logging.get_logger()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, process)
    admin = asyncio.create_task(serve_http(_admin_app(process), settings.admin_host, settings.admin_port, process))
    work = asyncio.ensure_future(main(process))
    stop = asyncio.create_task(process.stopping.wait())
    status = 0
    try:
        await asyncio.wait({work, stop, admin}, return_when=asyncio.FIRST_COMPLETED)
        if not process.stopping.is_set():
            if admin.done() and not work.done():
                log.error("admin_server_failed", port=settings.admin_port)
                status = 1
            process.stopping.set()
        done, _ = await asyncio.wait({work}, timeout=settings.drain_timeout_s)
        if not done:
            log.error("drain_timeout", seconds=settings.drain_timeout_s)
            work.cancel()
            status = 1
        with contextlib.suppress(asyncio.CancelledError):
            await work
    except Exception:
        log.exception("process_failed")
        status = 1
    finally:
        stop.cancel()
        admin.cancel()
        await asyncio.gather(admin, stop, return_exceptions=True)
        await loop.run_in_executor(None, provider.shutdown)
    log.info("process_stopped", status=status)
    return status


def _on_signal(process: Process) -> None:
    if process.stopping.is_set():
        os._exit(1)  # the second signal: somebody is in a hurry
    process.stopping.set()


class _Server(uvicorn.Server):
    """Uvicorn without its own signal handlers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """Leave the signals to ``run``."""
        yield


async def serve_http(app: Any, host: str, port: int, process: Process) -> None:
    """Serve ``app`` until the process stops, then finish the requests under way.

    Raises:
        OSError: the port cannot be had.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=max(1, int(process.drain_timeout_s) - 1),
        timeout_keep_alive=30,
        h11_max_incomplete_event_size=64 * 1024,
    )
    server = _Server(config)
    listener = socket.create_server((host, port), backlog=2048, reuse_port=False)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    stop = asyncio.create_task(process.stopping.wait())
    try:
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await task
    finally:
        server.should_exit = True
        stop.cancel()
        if not task.done():
            await asyncio.wait({task}, timeout=process.drain_timeout_s)
        listener.close()


def _admin_app(process: Process) -> Callable[..., Awaitable[None]]:
    async def app(scope: dict[str, Any], _receive: Any, send: Any) -> None:
        status, kind, body = await _admin_answer(process, scope.get("path", ""))
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


async def _admin_answer(process: Process, path: str) -> tuple[int, str, bytes]:
    match path:
        case "/metrics":
            return 200, CONTENT_TYPE_LATEST, generate_latest()
        case "/healthz":
            return 200, "application/json", orjson.dumps({"service": process.service, "instance": process.instance})
        case "/readyz":
            checks = await process.readiness()
            return (200 if all(checks.values()) else 503), "application/json", orjson.dumps(checks)
        case _:
            return 404, "text/plain", b"/metrics /healthz /readyz\n"
