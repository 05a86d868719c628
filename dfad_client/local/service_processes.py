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
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 60.0
_STEADY_SECONDS = 60.0
"""A process that has lived this long is started again after the first pause, whatever was before."""
_WORDS_AT_DEATH = 6
_OF_THE_SERVER = ("DFAD_API_KEY", "DFAD_API_KEY_FILE", "DFAD_KEY_PEPPER", "DFAD_KEY_PEPPER_FILE")


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


def missing_for_worker() -> list[str]:
    """What `worker` needs and this installation lacks. Nothing is imported."""
    needed = ("app", "worker", "sqlalchemy", "torch")
    return [name for name in needed if importlib.util.find_spec(name) is None]


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


def without_server_secrets(env: dict[str, str]) -> dict[str, str]:
    """The environment without the API key and the pepper of keys, which only the server needs.

    A worker's processes read files of people unknown.
    """
    return {name: value for name, value in env.items() if name not in _OF_THE_SERVER}


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
        self._pause = _FIRST_PAUSE_SECONDS
        self._start_at = self._started_at = 0.0
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
        """Start it; from the main thread, for its death is the one that the kernel looks at.

        Raises OSError if the system has no room for it.
        """
        self._started_at = time.monotonic()
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
        """Start it again when it has died, after a pause that doubles up to a minute.

        Returns a line on what happened, with the end of its log. It is tried for ever: what keeps it from
        living, such as a full disk, may go away.
        """
        now = time.monotonic()
        if self._process is None:
            return self._try_again() if now >= self._start_at else None
        code = self._process.poll()
        if code is None:
            return None
        self.kill()
        self._process = None
        if now - self._started_at >= _STEADY_SECONDS:
            self._pause = _FIRST_PAUSE_SECONDS
        text = f"{self.name} died (exit code {code}); starting it again in {self._put_off():g} s"
        words = self.last_words(_WORDS_AT_DEATH)
        return f"{text}; the end of {self.log}:\n{words}" if words else text

    def _try_again(self) -> str | None:
        try:
            self.start()
        except OSError as error:  # too many processes, no memory
            reason = error.strerror or type(error).__name__
            return f"{self.name} cannot be started ({reason}); trying again in {self._put_off():g} s"
        return None

    def _put_off(self) -> float:
        """Seconds until the next start; the pause after that will be longer."""
        pause = self._pause
        self._start_at = time.monotonic() + pause
        self._pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        return pause

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
