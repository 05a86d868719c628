"""From a stranger's file to a teacher that may be trusted to be data: read behind walls, by another process.

The runner forks a child before it has any thread; the child confines itself, reads the file, and leaves a
converted teacher in the folder and an inspection report on a pipe. The runner reads those and nothing else.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfad_core.contract.errors import ConfigError, DfadError, TeacherRejected
from dfad_core.contract.inspection import Inspection
from dfad_core.contract.job_spec import TeacherSpec
from dfad_core.contract.serialization import from_json, to_json

SECONDS = 110.0
"""For reading one file; a supervisor that waits for an inspection has a little more patience."""
LOOK_SECONDS = 1.0
MAX_ANSWER_BYTES = 4 * 2**20
NAME, INITIAL, LABELLED = "converted.safetensors", "initial.safetensors", "labelled.safetensors"
TEACHER, OTHERS = "teacher", ("student.init_from", "evaluation")
"""What a file is to the job, as an error names it. The reader says on a line when it goes on to one of the
others, so that what ends it is not held against the teacher."""
LABELLED_BYTES = 512 * 2**20
"""Labelled images unpack to more than their file; the walls leave that much for them."""


class ReaderKilled(Exception):
    """The reading process was killed from outside: by an operator, or for another's want of memory."""


@dataclass(frozen=True)
class Files:
    """What was uploaded, in one folder."""

    teacher: Path
    initial: Path | None = None
    """Weights that the student begins with."""
    labelled: Path | None = None
    """Data to measure accuracy on."""


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
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.close(reading)
            _child(files, spec, writing, offers, threads)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    try:
        about, answer = _answer(reading, alive)
    finally:
        os.close(reading)
        status = _end(pid)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        raise ReaderKilled
    if status != 0 or not answer:
        raise _crashed(about)
    inspection, folder = _understood(answer, about), files.teacher.parent
    initial, labelled = (
        folder / name if given else None
        for given, name in ((files.initial, INITIAL), (files.labelled, LABELLED))
    )
    return Converted(folder / NAME, initial, labelled, inspection)


def _answer(reading: int, alive: Callable[[], None]) -> tuple[str, bytes]:
    """What was read last, and the answer."""
    received, about = b"", TEACHER
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if not select.select([reading], [], [], LOOK_SECONDS)[0]:
            alive()
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


def _understood(answer: bytes, about: str) -> Inspection:
    try:
        data = json.loads(answer)
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
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, DfadError):
            raise
        raise _crashed(about) from error


def _child(files: Files, spec: dict[str, Any], writing: int, offers: bool, threads: int | None) -> None:
    """Behind the walls. Every end is an answer, or a crash."""
    from dfad_core import job
    from dfad_core.evaluation.inspection import inspect_teacher
    from dfad_core.formats.converted import write_converted
    from dfad_core.formats.initial import read_weights
    from dfad_core.formats.labelled import write_labelled
    from dfad_core.formats.labelled_file import read_labelled_file
    from worker.kernel import die_with_parent
    from worker.sandbox import confine
    from worker.walls import NEEDED

    die_with_parent()
    from safetensors.torch import save_file

    _take_threads(threads)
    folder = files.teacher.parent
    os.chdir(folder)
    given = [path for path in (files.teacher, files.initial) if path is not None]
    sizes = sum(path.stat().st_size for path in given)
    absent = confine(folder, sizes + (LABELLED_BYTES if files.labelled else 0))
    if bare := [wall for wall in absent if wall in NEEDED]:
        print(f"a stranger's file is read without {' and '.join(bare)}", file=sys.stderr)
    about = TEACHER
    # From here on by names in the folder: the way to it may be closed to the user that this is now.
    try:
        teacher = job.read_teacher(Path(files.teacher.name), TeacherSpec.from_json(spec))
        inspection = inspect_teacher(teacher, offers=offers)
        write_converted(teacher, Path(NAME))
        if files.initial is not None:
            about = _begun(writing, "student.init_from")
            tensors = read_weights(Path(files.initial.name))
            save_file({name: t.detach().clone().contiguous() for name, t in tensors.items()}, INITIAL)
        if files.labelled is not None:
            about = _begun(writing, "evaluation")
            labelled = read_labelled_file(
                Path(files.labelled.name), teacher.input, teacher.num_classes, teacher.class_names
            )
            write_labelled(labelled, Path(LABELLED))
        answer: dict[str, Any] = {"inspection": to_json(inspection)}
    except DfadError as error:
        param = error.param if about == TEACHER else about
        answer = _error(error.code, error.message, param, about)
    except MemoryError:
        answer = _memory(about)
    except RuntimeError as error:
        if "allocate memory" not in str(error).lower() and "out of memory" not in str(error).lower():
            traceback.print_exc()
            raise
        answer = _memory(about)
    except BaseException:
        traceback.print_exc()
        raise
    with os.fdopen(writing, "wb") as out:
        out.write(json.dumps(answer).encode())


def _begun(writing: int, about: str) -> str:
    """Tell that this file is read next."""
    os.write(writing, f"{about}\n".encode())
    return about


def _take_threads(number: int | None) -> None:
    if number is not None:
        import torch

        torch.set_num_threads(number)


def _memory(about: str) -> dict[str, Any]:
    text = "Reading the file needs more memory than is given."
    return _error("memory_limit", text, None if about == TEACHER else about, about)


def _error(code: str, message: str, param: str | None, about: str) -> dict[str, Any]:
    told = {"code": code, "message": message, "param": param, "teacher": about == TEACHER}
    return {"error": told}
