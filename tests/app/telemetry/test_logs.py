"""Guards: the form of log lines, in both formats."""

from __future__ import annotations

import ast
import io
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.platform.settings import Settings
from app.telemetry.context import bound
from app.telemetry.logs import logging_config, make_formatter

ROOT = Path(__file__).resolve().parents[3]


def line(kind: str, message: str, *args: Any, **more: Any) -> str:
    """What a record becomes."""
    record = logging.LogRecord("app.x", logging.WARNING, "f.py", 1, message, args, more.pop("exc_info", None))
    record.__dict__.update(more)
    return make_formatter(kind, "server").format(record)


def test_json_has_ids_and_known_fields_alone() -> None:
    with bound(request_id="req_1"), bound(job_id="job_1"):
        found = json.loads(line("json", "it is %s", "so\nand so", status=200, data={"args": "secret"}))
    assert found["message"] == "it is so\nand so"
    assert (found["level"], found["service"], found["logger"]) == ("warning", "server", "app.x")
    assert (found["request_id"], found["job_id"], found["status"]) == ("req_1", "job_1", 200)
    assert "data" not in found
    assert "request_id" not in json.loads(line("json", "outside"))


def test_an_error_has_its_trace() -> None:
    try:
        raise KeyError("x")
    except KeyError:
        info = sys.exc_info()
    found = json.loads(line("json", "failed", exc_info=info))
    assert found["exception"].startswith("Traceback")
    assert line("text", "failed", exc_info=info).splitlines()[1].startswith("Traceback")


def test_a_message_makes_no_line_of_its_own() -> None:
    for kind in ("json", "text"):
        said = line(
            kind, "GET /%s", "x\n2026-01-01T00:00:00Z ERROR app: forged\r\u2028\x1b[2J", tenant_id="t"
        )
        assert len(said.splitlines()) == 1
        assert "\x1b" not in said


def test_text_is_for_terminals(home: Path) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def kind(settings: Settings, stream: io.StringIO) -> str:
        return str(logging_config(settings, "x", stream)["formatters"]["line"]["kind"])

    assert kind(Settings(), Terminal()) == "text"
    assert kind(Settings(), io.StringIO()) == "json"
    assert kind(Settings(log_format="json"), Terminal()) == "json"
    assert kind(Settings(log_format="text"), io.StringIO()) == "text"


def test_debug_is_of_ours_alone(home: Path) -> None:
    found = logging_config(Settings(log_level="debug"), "x")
    assert found["root"]["level"] == "INFO"
    assert found["loggers"]["app"]["level"] == "DEBUG"


@pytest.mark.parametrize("how", ["raise RuntimeError('it')", "import warnings; warnings.warn('it')"])
def test_what_would_go_past_the_loggers_does_not(home: Path, how: str) -> None:
    code = (
        "from app.platform.settings import get_settings; from app.telemetry.logs import configure;"
        f"configure(get_settings(), 'x'); {how}"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    found = [json.loads(text) for text in done.stderr.splitlines()]
    assert len(found) == 1
    assert "it" in found[0].get("exception", found[0]["message"])


def test_the_values_of_a_statement_are_not_told(each_database: str) -> None:
    from sqlalchemy import text
    from sqlalchemy.exc import DBAPIError

    from app.platform.db import session_scope

    with pytest.raises(DBAPIError) as caught, session_scope() as session:
        session.execute(text("SELECT :value FROM nothing"), {"value": "a-secret"})
    assert "a-secret" not in str(caught.value)


def test_ids_are_fields_and_no_text() -> None:
    """Whoever looks for a job's lines asks for the field; an id in a sentence is not found."""
    in_text = []
    for file in [*(ROOT / "app").rglob("*.py"), *(ROOT / "worker").rglob("*.py")]:
        for call in ast.walk(ast.parse(file.read_text())):
            if not isinstance(call, ast.Call) or not ast.unparse(call.func).startswith("logger."):
                continue
            words = [part for argument in call.args for part in ast.walk(argument)]
            names = [ast.unparse(part) for part in words if isinstance(part, ast.Name | ast.Attribute)]
            if any(name.endswith(("_id", ".id", "_ids")) for name in names):
                in_text.append(f"{file.relative_to(ROOT)}:{call.lineno}")
    assert in_text == []
