"""From a stranger's file to a teacher that may be trusted to be data: read behind walls, by another process.

The runner forks a child (`worker.reader`) before it has any thread. The child leaves a converted teacher in a
folder of its own and an inspection report on a pipe. When it has ended, the runner takes what it left out of
that folder, and reads that and nothing else: by then nobody can change it.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfad_core.contract.errors import ConfigError, DfadError, TeacherRejected
from dfad_core.contract.inspection import Inspection
from dfad_core.contract.serialization import from_json
from worker.reader import INITIAL, LABELLED, NAME, OTHERS, TEACHER, Files, Reading, read

SECONDS = 110.0
"""For reading one file; a supervisor that waits for an inspection has a little more patience."""
LOOK_SECONDS = 1.0
MAX_ANSWER_BYTES = 4 * 2**20
PLACE = "reading"
"""Of the process that reads, beside the files."""
MAX_LOG_BYTES = 65536


class ReaderKilled(Exception):
    """The reading process was killed from outside: by an operator, or for another's want of memory."""


@dataclass(frozen=True)
class Converted:
    """The same as this project's own files, and what the teacher is."""

    teacher: Path
    initial: Path | None
    labelled: Path | None
    inspection: Inspection


def convert(
    files: Files,
    spec: dict[str, Any],
    alive: Callable[[], None],
    *,
    offers: bool = False,
    threads: int | None = None,
) -> Converted:
    """All of `files`, with the teacher read as `spec` says. `alive` is called while it takes.

    With `offers` the inspection names students, which takes some seconds: a job has its student already.
    `threads` are those of the process that reads; None: as many as the libraries take by themselves.

    Raises TeacherRejected with the code of what is wrong with the file, `loader_crashed` or `loader_timeout`;
    ConfigError, with these codes too, where other than the teacher's file is at fault;
    ReaderKilled, which says nothing about the file.
    """
    folder = files.teacher.parent.resolve()
    place = _place_to_read(files, folder)
    (reading, writing), (words, speaking) = os.pipe(), os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    runner = os.getpid()
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            read(Reading(files, place, spec, offers, threads, runner, writing, speaking))
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    os.close(speaking)
    log = _Log(words)
    try:
        about, answer = _answer(reading, log, alive)
    finally:
        os.close(reading)
        status = _end(pid)
        log.close()
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        raise ReaderKilled
    if status != 0 or not answer:
        raise _crashed(about)
    inspection = _understood(answer, about)
    converted = Converted(
        _taken(place / NAME, folder, TEACHER),
        _taken(place / INITIAL, folder, OTHERS[0]) if files.initial else None,
        _taken(place / LABELLED, folder, OTHERS[1]) if files.labelled else None,
        inspection,
    )
    shutil.rmtree(place, ignore_errors=True)  # what was unpacked there can be as large as the file
    return converted


def _place_to_read(files: Files, folder: Path) -> Path:
    """A new folder for the process that reads, with links to the files: those it cannot change."""
    place = folder / PLACE
    if place.exists():  # of an earlier try
        shutil.rmtree(place)
    place.mkdir(mode=0o700)
    for name in {path.name for path in (files.teacher, files.initial, files.labelled) if path is not None}:
        (place / name).symlink_to(Path("..") / name)
    return place


def _taken(made: Path, folder: Path, about: str) -> Path:
    """A file that the reader left, moved to where it could not write.

    Raises what `_crashed` makes where there is none: a link, a pipe and a folder are not believed.
    """
    try:
        found = made.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise _crashed(about)
        target = folder / made.name
        made.rename(target)
        if found.st_uid != os.geteuid():
            os.chown(target, os.geteuid(), os.getegid())
        target.chmod(0o600)
    except OSError as error:
        raise _crashed(about) from error
    return target


class _Log:
    """What the reader writes as its log: the first part of it, said again line by line under its name."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._said = b""
        os.set_blocking(descriptor, False)

    def fileno(self) -> int:
        """For `select`."""
        return self._descriptor

    def take(self) -> bool:
        """Read on; False at the end."""
        try:
            piece = os.read(self._descriptor, 65536)
        except BlockingIOError:
            return True
        self._said += piece[: MAX_LOG_BYTES - len(self._said)]
        return bool(piece)

    def close(self) -> None:
        """After the reader's end."""
        self.take()  # what was left in the pipe, which holds no more than one piece
        os.close(self._descriptor)
        for line in self._said.decode(errors="replace").splitlines():
            print(f"reader: {''.join(c if c.isprintable() else '?' for c in line)}", file=sys.stderr)
        sys.stderr.flush()


def _answer(reading: int, log: _Log, alive: Callable[[], None]) -> tuple[str, bytes]:
    """What was read last, and the answer."""
    received, about = b"", TEACHER
    deadline = time.monotonic() + SECONDS
    listened: list[int | _Log] = [reading, log]
    while time.monotonic() < deadline:
        ready = select.select(listened, [], [], LOOK_SECONDS)[0]
        if not ready:
            alive()
            continue
        if log in ready and not log.take():
            listened.remove(log)
        if reading not in ready:
            continue
        piece = os.read(reading, 65536)
        if not piece:
            return about, received.rpartition(b"\n")[2]
        received += piece
        if len(received) > MAX_ANSWER_BYTES:
            raise _crashed(about)
        begun = [name for name in OTHERS if f"{name}\n".encode() in received]
        if begun and begun[-1] != about:
            about, deadline = begun[-1], time.monotonic() + SECONDS
    raise _fault(about, "Reading the file took too long.", "loader_timeout")


def _fault(about: str, text: str, code: str) -> DfadError:
    if about == TEACHER:
        return TeacherRejected(text, code=code)
    return ConfigError(text, code=code, param=about)


def _crashed(about: str) -> DfadError:
    return _fault(about, "Reading the file ended its process.", "loader_crashed")


def _end(pid: int) -> int:
    """The child's wait status; killed if it still runs, which is told as an abort."""
    found, status = os.waitpid(pid, os.WNOHANG)
    for _ in range(50):  # it has closed its pipe, and is about to end
        if found:
            return status
        time.sleep(0.02)
        found, status = os.waitpid(pid, os.WNOHANG)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return int(signal.SIGABRT)


def _no_number(_: str) -> float:
    raise ValueError


def _understood(answer: bytes, about: str) -> Inspection:
    try:
        # Neither is JSON to every database.
        if b"\\u0000" in answer:
            raise ValueError
        data = json.loads(answer, parse_constant=_no_number)
        if "error" in data:
            error = data["error"]
            param = error["param"]
            kind = TeacherRejected if error["teacher"] else ConfigError
            raise kind(
                str(error["message"])[:2000],
                code=str(error["code"])[:64],
                param=None if param is None else str(param)[:256],
            )
        return from_json(Inspection, dict(data["inspection"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, DfadError):
            raise
        raise _crashed(about) from error
