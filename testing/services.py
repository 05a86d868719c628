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
LOG_CHARACTERS = 2000


class ServiceMissing(Exception):
    """A program is not installed on this machine."""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until something listens; RuntimeError with the end of its log if it ends before, or takes long."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"a service did not start: {log.read_text()[-LOG_CHARACTERS:]}")


class Redis:
    """`durable`: with an append-only file, as in production; otherwise it comes back empty after a kill.

    Raises ServiceMissing.
    """

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise ServiceMissing("Redis is not installed on this machine")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._port = folder, free_port()
        self._command = [program, "--port", str(self._port), "--bind", "127.0.0.1", "--dir", str(folder)]
        self._command += ["--save", "", "--maxmemory-policy", "noeviction"]
        self._command += ["--appendonly", "yes"] if durable else []
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self.start()

    def start(self) -> None:
        """Begin to serve."""
        log = self._folder / "redis.log"
        with log.open("ab") as out:
            self._process = subprocess.Popen(self._command, stdout=out, stderr=out)
        wait_for_port(self._port, self._process, log)

    def run(self, *command: str) -> None:
        """One command of Redis."""
        subprocess.run(
            ["redis-cli", "-p", str(self._port), *command], check=True, capture_output=True, timeout=20
        )

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()


class Postgres:
    """A server with one empty database `dfad`. `durable`: commits reach the disk, as in production.

    Raises ServiceMissing.
    """

    def __init__(self, *, durable: bool = True) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if not found:
            raise ServiceMissing("PostgreSQL is not installed on this machine")
        self._programs, self._port, self._durable = found[-1].parent, free_port(), durable
        # Not below a folder of the caller's, which its own user may be unable to enter.
        self._folder = Path(tempfile.mkdtemp(prefix="dfad-postgres-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._who: dict[str, object] = {"cwd": self._folder}
        if os.geteuid() == 0:  # whom initdb refuses
            names = {user.pw_name: user for user in pwd.getpwall()}
            user = names.get("postgres") or names["nobody"]
            os.chown(self._folder, user.pw_uid, user.pw_gid)
            self._who |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        making = ["initdb", "-D", "data", "-U", "dfad", "-A", "trust", "-E", "UTF8"]
        self._run(*making, *([] if durable else ["--no-sync"]))
        self.server = f"postgresql+psycopg://dfad@127.0.0.1:{self._port}"
        """Its URL, without the name of a database."""
        self.url = f"{self.server}/dfad"
        try:
            self.start()
            self.execute("CREATE DATABASE dfad")
        except BaseException:
            self.close()
            raise

    def _run(self, program: str, *arguments: str) -> None:
        for _ in range(50):
            done = subprocess.run(
                [self._programs / program, *arguments], check=False, capture_output=True, **self._who
            )  # type: ignore[call-overload]
            if done.returncode == 0:
                return
            time.sleep(0.2)  # the port opens a little before the server takes connections
        raise RuntimeError(done.stderr.decode()[-LOG_CHARACTERS:])

    def execute(self, statement: str) -> None:
        """One statement as the superuser, outside of a transaction and of the other databases."""
        import psycopg

        address = f"postgresql://dfad@127.0.0.1:{self._port}/postgres"
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(statement.encode())

    def start(self) -> None:
        """Begin to serve; after a kill that means recovery first."""
        options = {"port": self._port, "listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
        options |= {} if self._durable else {"fsync": "off"}
        flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        log = self._folder / "log"
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._folder / "data", *flags],
                stdout=out, stderr=out, **self._who,
            )  # type: ignore[call-overload]  # fmt: skip
        wait_for_port(self._port, self._process, log)
        self._run("pg_isready", "-h", "127.0.0.1", "-p", str(self._port), "-U", "dfad")

    def kill(self) -> None:
        """As a power cut: its main process dies, and the others with it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)  # immediate shutdown: no checkpoint is written
        self._process.wait(timeout=30)

    def close(self) -> None:
        """End it and forget its data."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
