"""Structured logs: one JSON object a line on stderr, ``event`` first, ids bound, the trace id added.

Promises: no body, no secret, an address only by ``address_hash`` (above DEBUG).
Fails: never; a value that JSON does not know is written as its ``str``.
"""

import hashlib
import logging
import sys
from typing import Any

import orjson
import structlog
from opentelemetry import trace
from structlog.typing import EventDict, WrappedLogger


def _add_trace(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = format(context.trace_id, "032x")
    return event


def _render(_logger: WrappedLogger, _name: str, event: EventDict) -> str:
    first = {"ts": event.pop("timestamp"), "level": event.pop("level"), "event": event.pop("event")}
    return orjson.dumps({**first, **event}, default=str).decode()


def setup(service: str, instance: str, level: str) -> None:
    """Log from now on as ``service``/``instance`` at ``level``, other libraries' records from WARNING up included."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _add_trace,
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service, instance=instance)
    logging.basicConfig(handlers=[_Forward()], level=logging.WARNING, force=True)


class _Forward(logging.Handler):
    """Gives records of the standard library's loggers to ours."""

    def emit(self, record: logging.LogRecord) -> None:
        get_logger().log(
            record.levelno, "library_log", logger=record.name, message=record.getMessage(), exc_info=record.exc_info
        )


def get_logger() -> Any:
    """The logger; call ``log.info("event_name", campaign_id=…)``."""
    return structlog.get_logger()


def address_hash(address: str) -> str:
    """12 hexadecimal digits that stand for an address in logs and spans."""
    return hashlib.blake2b(address.lower().encode(), digest_size=6).hexdigest()
