"""What server and worker say: a line each, as JSON for machines or as text for people.

Ids are in it (request, tenant, job, attempt), contents never: no key, no setting, no bytes of a file. What a
caller adds with `extra` is written only where FIELDS names it, so that no library's does.
"""

from __future__ import annotations

import json
import logging
import logging.config
import sys
import threading
from datetime import UTC, datetime
from typing import Any, TextIO

from pythonjsonlogger.json import JsonFormatter

from app.platform.settings import Settings
from app.telemetry.context import ids

FIELDS = (
    "method", "route", "status", "seconds", "stream",
    "request_id", "tenant_id", "job_id", "attempt", "teacher_id", "webhook_id", "delivery_id",
    "key_id", "secret_number", "person", "action", "address",
)  # fmt: skip
OURS = ("app", "worker", "dfad_core")
"""Loggers that `debug` is about: those of libraries tell statements and messages then."""

_encode = json.JSONEncoder(default=str).encode
_CONTROLS = {n: repr(chr(n))[1:-1] for n in (*range(32), 127, 0x85, 0x2028, 0x2029) if n != 9}


def _time(record: logging.LogRecord) -> str:
    """RFC 3339, UTC, milliseconds."""
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _told(record: logging.LogRecord) -> dict[str, Any]:
    """Ids of the context, and fields that the caller gave."""
    given = record.__dict__
    return {**ids(), **{name: given[name] for name in FIELDS if name in given}}


class JsonLines(JsonFormatter):
    """One JSON object a line."""

    def __init__(self, service: str) -> None:
        super().__init__(json_serializer=lambda data, **_: _encode(data))
        self._service = service

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        """See JsonFormatter, which calls this to fill `log_data`."""
        log_data["time"] = _time(record)
        log_data["level"] = record.levelname.lower()
        log_data["service"] = self._service
        log_data["pid"] = record.process
        log_data["logger"] = record.name
        log_data["message"] = record.message
        log_data |= _told(record)
        if "exc_info" in message_dict:
            log_data["exception"] = message_dict["exc_info"]


class TextLines(logging.Formatter):
    """For people. A message cannot make a line of its own: line ends in it are written out."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        more = "".join(f" {name}={value}" for name, value in _told(record).items())
        message = record.message.translate(_CONTROLS)
        return f"{_time(record)} {record.levelname} {record.name}: {message}{more}"


def make_formatter(kind: str, service: str) -> logging.Formatter:
    """For `logging_config`."""
    return JsonLines(service) if kind == "json" else TextLines()


def make_handler() -> logging.Handler:
    """For `logging_config`: standard error, and what would have gone there past the loggers."""
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    return logging.StreamHandler()


def _uncaught(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger("app").critical("ended by %s", kind.__name__, exc_info=(kind, error, trace))


def _uncaught_in_thread(given: threading.ExceptHookArgs) -> None:
    if given.exc_value is not None and not isinstance(given.exc_value, SystemExit):
        name = given.thread.name if given.thread else "?"
        logging.getLogger("app").error("the thread %s ended by an error", name, exc_info=given.exc_value)


def logging_config(settings: Settings, service: str, stream: TextIO | None = None) -> dict[str, Any]:
    """For `logging.config.dictConfig`: every logger of the process, libraries' too, in one form.

    `auto` is text on a terminal and JSON elsewhere.
    """
    kind = settings.log_format
    if kind == "auto":
        kind = "text" if (stream or sys.stderr).isatty() else "json"
    level = settings.log_level.upper()
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": "app.telemetry.logs.make_formatter", "kind": kind, "service": service}},
        "handlers": {"stderr": {"()": "app.telemetry.logs.make_handler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": "INFO" if level == "DEBUG" else level},
        "loggers": {name: {"level": level} for name in OURS},
    }


def configure(settings: Settings, service: str) -> None:
    """From now on this process's log lines are as `logging_config` says."""
    logging.config.dictConfig(logging_config(settings, service))
