"""The program, called in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dfad_core.cli import program


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Run a command in `tmp_path`; its exit code and lines. `run.handlers` are those of its signals."""
    handlers: dict[int, Any] = {}
    monkeypatch.setattr("signal.signal", handlers.__setitem__)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, list[dict[str, Any]]]:
        code = program.main(arguments)
        return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    call.handlers = handlers  # type: ignore[attr-defined]
    return call
