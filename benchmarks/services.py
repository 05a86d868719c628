"""PostgreSQL and Redis from the machine's own packages, in folders of their own, on free ports."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

START_SECONDS = 30.0


class ServiceMissing(Exception):
    """A program is not installed on this machine."""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until something listens; RuntimeError if the process ends before, or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("a service did not start")


class Redis:
    """With an append-only file, as in production: it comes back with what it was told."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise ServiceMissing("Redis is not installed on this machine")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._port = folder, free_port()
        self._command = [program, "--port", str(self._port), "--bind", "127.0.0.1", "--dir", str(folder)]
        self._command += ["--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"]
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self.start()

    def start(self) -> None:
        """Begin to serve."""
        with (self._folder / "redis.log").open("ab") as out:
            self._process = subprocess.Popen(self._command, stdout=out, stderr=out)
        wait_for_port(self._port, self._process)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()

    def forget_everything(self) -> None:
        """FLUSHALL."""
        subprocess.run(
            ["redis-cli", "-p", str(self._port), "FLUSHALL"], check=True, capture_output=True, timeout=20
        )


class Postgres:
    """A server with one empty database `dfad`."""

    def __init__(self) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if not found:
            raise ServiceMissing("PostgreSQL is not installed on this machine")
        self._programs, self._port = found[-1].parent, free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="dfad-postgres-"))
        self._who: dict[str, object] = {"cwd": self._folder}
        if os.geteuid() == 0:  # whom initdb refuses
            names = {user.pw_name: user for user in pwd.getpwall()}
            user = names.get("postgres") or names["nobody"]
            os.chown(self._folder, user.pw_uid, user.pw_gid)
            self._who |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        making = ["initdb", "-D", "data", "-U", "dfad", "-A", "trust", "-E", "UTF8"]
        self._run(*making)
        self.start()
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self._port), "-U", "dfad", "dfad")
        self.url = f"postgresql+psycopg://dfad@127.0.0.1:{self._port}/dfad"

    def _run(self, program: str, *arguments: str) -> None:
        for _ in range(50):
            done = subprocess.run(
                [self._programs / program, *arguments], check=False, capture_output=True, **self._who
            )  # type: ignore[call-overload]
            if done.returncode == 0:
                return
            time.sleep(0.2)  # the port opens a little before the server takes connections
        raise RuntimeError(done.stderr.decode()[-500:])

    def start(self) -> None:
        """Begin to serve; after a kill that means recovery first."""
        options = {"port": self._port, "listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
        flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as out:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._folder / "data", *flags],
                stdout=out, stderr=out, **self._who,
            )  # type: ignore[call-overload]  # fmt: skip
        wait_for_port(self._port, self._process)
        self._run("pg_isready", "-h", "127.0.0.1", "-p", str(self._port), "-U", "dfad")

    def kill(self) -> None:
        """As a power cut: its main process dies, and the others with it."""
        self._process.send_signal(signal.SIGQUIT)  # immediate shutdown: no checkpoint is written
        self._process.wait(timeout=30)

    def close(self) -> None:
        """End it and forget its data."""
        if self._process.poll() is None:
            self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
