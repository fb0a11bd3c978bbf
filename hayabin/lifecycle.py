"""Start and stop of a process: event loop, logs, traces, admin HTTP server, signals, draining.

Promises: SIGTERM or SIGINT sets ``Process.stopping``; main drains and returns; a main that has not started yet (it
waits for its database, say) is ended at once. A second signal, or a drain that takes longer than ``drain_timeout_s``,
ends the process with status 1. ``/healthz`` answers while the loop turns, ``/readyz`` says by name which check does not
hold, in bounded time.
Fails: an exception out of main is logged and ends the process with status 1.
"""

import asyncio
import contextlib
import gc
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

from hayabin import crash_points
from hayabin.database.patience import StartRefused, is_waiting
from hayabin.settings import ProcessSettings
from hayabin.telemetry import logging, tracing

Check = Callable[[], Awaitable[bool]]
_CHECK_TIMEOUT_S = 2.0
_GC_THRESHOLDS = (10_000, 20, 20)
"""Mails, futures and tasks come and go by the thousand and are no cycles; the defaults look at them each 700."""
_CANCELLED_S = 5.0  # for what main does on its way out once it is cancelled


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
        self._checking: dict[str, asyncio.Future[bool]] = {}

    @property
    def started(self) -> bool:
        """Whether main got so far that there is something to drain."""
        return bool(self._checks) and not is_waiting()

    def ready(self, name: str, check: Check) -> None:
        """Add a condition to ``/readyz``."""
        self._checks[name] = check

    async def readiness(self) -> dict[str, bool]:
        """Each check by name; one that raises or hangs does not hold, and before main added any nothing is ready."""
        answer = {"running": not self.stopping.is_set(), "started": bool(self._checks)}
        for name, check in list(self._checks.items()):  # main may add one meanwhile
            answer[name] = await self._holds(name, check)
        return answer

    async def _holds(self, name: str, check: Check) -> bool:
        """Whether it holds now; one that still hangs from the last time is not begun again beside it."""
        # not wait_for, which would wait for the end of what it cancels
        running = self._checking.get(name)
        if running is None or running.done():
            running = self._checking[name] = asyncio.ensure_future(check())
        done, _ = await asyncio.wait({running}, timeout=_CHECK_TIMEOUT_S)
        if not done:
            running.cancel()
        error = TimeoutError() if not done or running.cancelled() else running.exception()
        if error is None:
            return running.result()
        logging.get_logger().warning("readiness_check_failed", check=name, error=repr(error))
        return False


def run(service: str, settings: ProcessSettings, main: Callable[[Process], Awaitable[None]]) -> None:
    """Run ``main`` until it returns or the process is told to stop; exits the interpreter with the status."""
    gc.collect()
    gc.freeze()  # what the imports made stays as long as the process: no collection needs to look at it
    gc.set_threshold(*_GC_THRESHOLDS)
    status = uvloop.run(_supervise(service, settings, main))
    sys.exit(status)


async def _supervise(service: str, settings: ProcessSettings, main: Callable[[Process], Awaitable[None]]) -> int:
    process = Process(service, settings)
    logging.setup(service, process.instance, settings.log_level)
    provider = tracing.setup(
        service, process.instance, otlp_endpoint=settings.otlp_endpoint, trace_file=settings.trace_file
    )
    log = logging.get_logger()
    crash_points.arm(settings.crash_at)
    if settings.crash_at:
        log.error("crash_points_armed", crash_at=settings.crash_at)
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
        status = max(status, await _drain(process, work))
    except StartRefused as refused:
        log.error("start_refused", error=str(refused))  # noqa: TRY400 - it is no bug: the message says all
        status = 1
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


async def _drain(process: Process, work: asyncio.Future[None]) -> int:
    """Wait for the end of main, in bounded time; the status of the process so far."""
    log = logging.get_logger()
    status, started = 0, process.started
    done, _ = await asyncio.wait({work}, timeout=process.drain_timeout_s if started else 0)
    if not done:
        if started:
            log.error("drain_timeout", seconds=process.drain_timeout_s)
            status = 1
        work.cancel()
        done, _ = await asyncio.wait({work}, timeout=_CANCELLED_S)
        if not done:
            log.error("end_timeout", seconds=_CANCELLED_S)
            os._exit(1)
    with contextlib.suppress(asyncio.CancelledError):
        work.result()
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
        proxy_headers=False,  # it would believe X-Forwarded-For of anybody on this machine; see who uses the address
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
