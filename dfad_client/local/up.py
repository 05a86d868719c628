"""`dfad up`: the whole service on one machine, as separate processes under one folder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import typer

from dfad_client.addresses import is_loopback
from dfad_client.local.service_processes import (
    ServiceProcess,
    environment,
    missing_packages,
    module_command,
    without_server_secrets,
)

READY_SECONDS = 120.0
#: A little more than the server gives the answers it is in the middle of.
API_STOP_SECONDS = 8.0
#: A worker saves its job first; see the service's stop_grace_seconds.
WORKER_STOP_SECONDS = 30.0
_LOOK_SECONDS = 0.2


class CannotStart(Exception):
    """Why the service does not run, in a sentence or two; `code` is stable."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Stop(Exception):
    """A signal asked for the end while something was awaited."""


class Up:
    """One run of the service, from the lock on its folder to the last process's end."""

    def __init__(
        self, *, home: Path, host: str, port: int, workers: int, as_json: bool = False, quiet: bool = False
    ) -> None:
        self._home = home.expanduser().absolute()
        self._host, self._port, self._workers, self._as_json = host, port, workers, as_json
        self._quiet = quiet
        self._signals = 0
        self._stop = threading.Event()
        self._children: list[ServiceProcess] = []

    def run(self) -> None:
        """Start everything, keep it alive, and return once a signal has asked for the end.

        Raises CannotStart; nothing is left running then.
        """
        self._check()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # as nohup and background shells want it
                signal.signal(number, self._on_signal)
        with self._lock(), contextlib.suppress(_Stop):
            try:
                self._start()
                self._announce()
                self._keep()
            finally:
                self._end()

    def _on_signal(self, _number: int, _frame: Any) -> None:
        self._signals += 1
        self._stop.set()

    def _check(self) -> None:
        """What can be known before anything is touched."""
        missing = missing_packages()
        if missing:
            raise CannotStart(
                "client_only",
                f"`dfad up` needs the service, and this installation lacks {', '.join(missing)}. "
                "Install dfad with the extras api and worker.",
            )
        key_given = os.environ.get("DFAD_API_KEY") or os.environ.get("DFAD_API_KEY_FILE")
        if not is_loopback(self._host) and not key_given:
            raise CannotStart(
                "key_needed",
                f"To listen on {self._host}, beyond this machine, set an API key in DFAD_API_KEY.",
            )

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold the folder: one `up` at a time. The kernel lets go of it however this process ends."""
        try:
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self._home / "logs").mkdir(exist_ok=True)
            handle = os.open(self._home / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CannotStart(
                "home_unusable", f"Cannot use the folder {self._home}: {error.strerror}."
            ) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = self._other()
            raise CannotStart("already_running", f"Another `dfad up` holds {self._home}{other}.") from None
        else:
            yield
        finally:
            os.close(handle)

    def _other(self) -> str:
        try:
            server = json.loads((self._home / "server.json").read_text())
        except (OSError, ValueError):
            return ""
        return f" (process {server.get('pid')}, {server.get('url')})"

    def _start(self) -> None:
        self._port = self._port or free_port(self._host)
        check_port(self._host, self._port)
        env = environment(
            DFAD_HOME=str(self._home),
            DFAD_HOST=self._host,
            DFAD_PORT=str(self._port),
            DFAD_LOG_FORMAT=os.environ.get("DFAD_LOG_FORMAT") or "text",  # read by a person, on this machine
        )
        keyless = without_server_secrets(env)
        self._migrate(keyless)
        logs = self._home / "logs"
        # An API left alone has nothing to save; a worker left alone saves its job first.
        api = ServiceProcess("api", module_command("app"), env, logs / "api.log", signal.SIGKILL)
        self._children = [api]
        for number in range(1, self._workers + 1):
            name = f"worker-{number}"
            log = logs / f"{name}.log"
            self._children.append(
                ServiceProcess(name, module_command("worker"), keyless, log, signal.SIGTERM)
            )
        for child in self._children:
            child.start()
        self._await_ready()

    def _migrate(self, env: dict[str, str]) -> None:
        log = self._home / "logs" / "migrate.log"
        with log.open("wb") as out:
            command = module_command("app.migrate")
            done = subprocess.run(command, env=env, stdout=out, stderr=subprocess.STDOUT, check=False)
        if done.returncode != 0:
            last = (log.read_text(errors="replace").splitlines() or ["it said nothing"])[-1]
            raise CannotStart("migration_failed", f"The database cannot be prepared: {last} (see {log})")
        if self._stop.is_set():
            raise _Stop

    def _await_ready(self) -> None:
        """Wait until the API, the database, the broker and a worker are there."""
        deadline = time.monotonic() + READY_SECONDS
        # Loopback, or the machine itself: no proxy in between.
        with httpx2.Client(trust_env=False, timeout=5.0) as http:
            while not self._is_ready(http):
                for child in self._children:
                    if child.exit_code is not None:
                        raise CannotStart(
                            "died_at_start",
                            f"{child.name} ended at once (exit code {child.exit_code}); "
                            f"the end of {child.log}:\n{child.last_words()}",
                        )
                if time.monotonic() > deadline:
                    logs = self._home / "logs"
                    raise CannotStart("not_ready", f"Not ready after {READY_SECONDS:g} s; see {logs}.")
                if self._stop.wait(_LOOK_SECONDS):
                    raise _Stop

    def _is_ready(self, http: httpx2.Client) -> bool:
        try:
            return http.get(f"{self._local_url()}/readyz").status_code == 200
        except httpx2.TransportError:
            return False

    def _local_url(self) -> str:
        """Where this machine itself reaches the API."""
        anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (compared, not bound)
        return url_of(anywhere.get(self._host, self._host), self._port)

    def _announce(self) -> None:
        pids = {child.name: child.pid for child in self._children}
        server = {
            "url": self._local_url(),
            "host": self._host,
            "port": self._port,
            "home": str(self._home),
            "pid": os.getpid(),
            "processes": pids,
        }
        temporary = self._home / "server.json.new"
        temporary.write_text(json.dumps(server) + "\n")
        temporary.replace(self._home / "server.json")
        if self._as_json:
            typer.echo(json.dumps(server))
        elif self._quiet:
            typer.echo(server["url"])
        else:
            typer.echo(f"dfad is up at {server['url']}  (data and logs in {self._home}; Ctrl-C stops it)")

    def _keep(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            for child in self._children:
                if news := child.keep_alive():
                    typer.echo(news, err=True)

    def _end(self) -> None:
        """SIGTERM to all, time to save, SIGKILL to what is left. A second Ctrl-C shortens the wait."""
        if self._signals and not (self._as_json or self._quiet):
            typer.echo("Stopping; running jobs are saved and go on at the next start.", err=True)
        before = self._signals
        for child in self._children:
            child.terminate()
        started = time.monotonic()
        for child in self._children:
            patience = API_STOP_SECONDS if child.name == "api" else WORKER_STOP_SECONDS
            while not child.wait(_LOOK_SECONDS):
                if time.monotonic() - started > patience or self._signals > before:
                    break
        for child in self._children:
            child.kill()
        (self._home / "server.json").unlink(missing_ok=True)


def url_of(host: str, port: int) -> str:
    """The address of a server."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def free_port(host: str) -> int:
    """A port that nobody listens on now."""
    with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
        _bind(probe, host, 0)
        port: int = probe.getsockname()[1]
        return port


def check_port(host: str, port: int) -> None:
    """Raise CannotStart if the port cannot be had."""
    with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
        # As the server will do: a connection in its last minutes does not hold the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bind(probe, host, port)


def _bind(probe: socket.socket, host: str, port: int) -> None:
    try:
        probe.bind((host, port))
    except OSError as error:
        if port == 0 or isinstance(error, socket.gaierror):
            raise CannotStart(
                "bad_host", f"This machine cannot listen on {host}: {error.strerror}."
            ) from None
        text = f"Port {port} on {host} cannot be used: {error.strerror}. --port names another, 0 a free one."
        raise CannotStart("port_in_use", text) from None
