"""Log lines, for people or as JSON (LOG_FORMAT), from every module's own `logging` logger.

What happens within a `bound(...)` names what it is about: the delivery, the RemediationRequest, the dead letter. A
message may quote a label or a sender's error, so no control character of it gets through: it cannot forge a line.
"""

import logging
from collections.abc import MutableMapping
from contextlib import AbstractContextManager
from typing import Any

import structlog
from structlog.contextvars import bound_contextvars, merge_contextvars
from structlog.stdlib import ProcessorFormatter

from storms.hostile import log_safe

Event = MutableMapping[str, Any]


def bound(**context: object) -> AbstractContextManager[None]:
    """Every line that this thread logs within it gets these fields."""
    return bound_contextvars(**{name: str(value) for name, value in context.items()})


def formatter(format: str) -> logging.Formatter:
    """For `logging.config`: `line` or `json`."""
    return ProcessorFormatter(
        # All loggers are the standard library's, so every record comes by here.
        foreign_pre_chain=[merge_contextvars],
        processors=[
            _describe,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            _json if format == "json" else _line,
        ],
    )


def _describe(_logger: Any, _method: str, event: Event) -> Event:
    record: logging.LogRecord = event.pop("_record")
    event.pop("_from_structlog", None)
    return {"level": record.levelname, "logger": record.name, "message": event.pop("event"), **event}


def _json(_logger: Any, _method: str, event: Event) -> str:
    first = {name: event.pop(name) for name in ("time", "level", "logger", "message")}
    return str(structlog.processors.JSONRenderer(default=str, ensure_ascii=True)(_logger, _method, {**first, **event}))


def _line(_logger: Any, _method: str, event: Event) -> str:
    """`2026-11-16T10:30:00.123456Z WARNING ingestion.ingest The message delivery_id=...`, a traceback below it."""
    time, level, logger, message = (event.pop(name) for name in ("time", "level", "logger", "message"))
    traceback = event.pop("exception", "")
    fields = "".join(f" {name}={log_safe(value)}" for name, value in event.items())
    # Indented: a line of an exception's text is never taken for one of the log.
    below = "".join(f"\n  | {log_safe(line)}" for line in str(traceback).split("\n")) if traceback else ""
    return f"{time} {level} {logger} {log_safe(message)}{fields}{below}"
