"""The service's processes on this machine: how one is started, watched, started again and ended."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_RESTART_WINDOW_SECONDS = 120.0
_MAX_RESTARTS = 5
_FIRST_PAUSE_SECONDS = 0.5


def dies_with_parent(with_signal: int) -> Callable[[], None]:
    """A `preexec_fn`: the kernel sends the child `with_signal` when its parent dies, however it dies.

    Linux only; elsewhere it does nothing.
    """
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    parent = os.getpid()

    def ask() -> None:
        if libc is None:
            return
        libc.prctl(_PR_SET_PDEATHSIG, with_signal)
        if os.getppid() != parent:  # it died before the kernel was asked
            os.kill(os.getpid(), signal.SIGKILL)

    return ask


def missing_packages() -> list[str]:
    """What `up` needs and this installation lacks. Nothing is imported."""
    needed = ("app", "worker", "fastapi", "uvicorn", "sqlalchemy", "alembic", "celery", "torch")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if not missing and not (service_root() / "app" / "migrate.py").is_file():
        missing = ["app"]  # a package of that name, but another's
    return missing


def service_root() -> Path:
    """The folder that holds the packages `app` and `worker`."""
    spec = importlib.util.find_spec("app")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).resolve().parent.parent


def environment(**settings: str) -> dict[str, str]:
    """This process's environment, the settings, and the service's packages on the path."""
    path = [str(service_root()), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, **settings, "PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}


def module_command(*arguments: str) -> list[str]:
    """`python -m …` that does not look for modules in the current folder, whatever lies there."""
    return [sys.executable, "-P", "-m", *arguments]


class ServiceProcess:
    """One process in a session of its own, so that a terminal's Ctrl-C reaches only `up`."""

    def __init__(
        self, name: str, command: list[str], env: dict[str, str], log: Path, orphan_signal: int
    ) -> None:
        self.name = name
        self.log = log
        self._command, self._env, self._orphan_signal = command, env, orphan_signal
        self._process: subprocess.Popen[bytes] | None = None
        self._restarts: list[float] = []
        self._start_at = 0.0
        if log.exists():
            log.replace(log.with_suffix(".log.old"))

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        return self._process.pid if self._process is not None else None

    @property
    def exit_code(self) -> int | None:
        """Negative for a signal; None while it runs or waits to be started."""
        return self._process.poll() if self._process is not None else None

    def start(self) -> None:
        """Start it; from the main thread, for its death is the one that the kernel looks at."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=dies_with_parent(self._orphan_signal),  # noqa: PLW1509  (one call, no locks)
            )

    def keep_alive(self) -> str | None:
        """Start it again when it has died, after a growing pause. Returns a line on what happened.

        Raises RuntimeError when it keeps dying.
        """
        now = time.monotonic()
        if self._process is None:
            if now >= self._start_at:
                self.start()
            return None
        code = self._process.poll()
        if code is None:
            return None
        self.kill()
        self._process = None
        self._restarts = [t for t in self._restarts if now - t < _RESTART_WINDOW_SECONDS]
        if len(self._restarts) >= _MAX_RESTARTS:
            raise RuntimeError(f"{self.name} keeps dying (exit code {code})")
        pause = _FIRST_PAUSE_SECONDS * 2.0 ** len(self._restarts)
        self._restarts.append(now)
        self._start_at = now + pause
        return f"{self.name} died (exit code {code}); starting it again in {pause:g} s"

    def terminate(self) -> None:
        """Ask it to end."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float) -> bool:
        """Whether it ended within `seconds`."""
        if self._process is None:
            return True
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End what is left of its process group, at once."""
        if self._process is None:
            return
        # Nothing of it may be left, or only what the kernel has not yet cleared away.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def last_words(self, lines: int = 12) -> str:
        """The end of its log."""
        try:
            text = self.log.read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])
