"""The engine, run as a program on this machine: `python -m dfad_core`, a JSON object a line."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Self

from dfad_client.answers import Event
from dfad_client.errors import DfadClientError
from dfad_client.local.service_processes import dies_with_parent, module_command

NEEDED = ("dfad_core", "torch", "numpy", "safetensors")
NAMES_SECONDS = 5.0


class EngineMissing(DfadClientError):
    """This installation has no engine."""


class EngineFailed(DfadClientError):
    """The engine told an error, or ended without a word; `exit_code` is its own."""

    def __init__(self, code: str, message: str, exit_code: int, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.exit_code, self.param = code, exit_code, param


def missing_packages() -> list[str]:
    """What the engine needs and this installation lacks. Nothing is imported."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def _environment() -> dict[str, str]:
    """This process's, with the engine's folder on the path."""
    spec = importlib.util.find_spec("dfad_core")
    assert spec is not None
    assert spec.origin is not None
    path = [str(Path(spec.origin).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}


def names() -> dict[str, list[str]]:
    """Architectures and methods; {} where the engine does not answer."""
    command = [*module_command("dfad_core.cli", "names")]
    try:
        done = subprocess.run(
            command, env=_environment(), capture_output=True, timeout=NAMES_SECONDS, check=True
        )
        found: dict[str, list[str]] = json.loads(done.stdout)["data"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return {}
    return found


class Engine:
    """One run of the program, in a `with` block; iterate over what it tells.

    It runs in a session of its own: the first Ctrl-C asks it to end well, the second ends it.
    """

    def __init__(self, *arguments: str) -> None:
        """Raises EngineMissing."""
        if missing := missing_packages():
            raise EngineMissing(
                f"This needs the engine, and this installation lacks {', '.join(missing)}. "
                "Install dfad with torch on this machine, or use a server (`dfad submit`)."
            )
        self._arguments: Sequence[str] = arguments
        self.on_interrupt: Callable[[], None] = lambda: None
        self.found: dict[str, Any] | None = None
        self._error: dict[str, Any] | None = None
        self.interrupted = False

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            module_command("dfad_core.cli", *self._arguments),
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
            preexec_fn=dies_with_parent(signal.SIGTERM),  # noqa: PLW1509  (one call, no locks)
        )
        self._before = {
            number: signal.signal(number, self._pass_on) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _pass_on(self, _number: int, _frame: FrameType | None) -> None:
        self._process.send_signal(signal.SIGINT)
        if not self.interrupted:
            self.interrupted = True
            self.on_interrupt()

    def __iter__(self) -> Iterator[Event]:
        """Everything but result and error, which `result` has in the end."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = Event.of(json.loads(line))
            if event.type == "result":
                self.found = event.data
            elif event.type == "error":
                self._error = event.data
            else:
                yield event

    def result(self) -> dict[str, Any]:
        """What came out, once all is told. Raises EngineFailed."""
        code = self._process.wait()
        if self._error is not None:
            about = self._error
            raise EngineFailed(about["code"], about["message"], code, about.get("param"))
        if self.found is None:
            raise EngineFailed("engine_died", f"The engine ended without a result (exit code {code}).", code)
        return self.found
