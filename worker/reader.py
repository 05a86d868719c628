"""The process that reads a foreign file, behind walls (`worker.sandbox`): it may be taken over by the file.

It holds no descriptor but a pipe for its answer and one for its log, and nobody believes either unchecked.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfad_core.contract.errors import DfadError
from dfad_core.contract.inspection import Inspection
from dfad_core.contract.job_spec import TeacherSpec
from dfad_core.contract.serialization import to_json

NAME, INITIAL, LABELLED = "converted.safetensors", "initial.safetensors", "labelled.safetensors"
TEACHER, OTHERS = "teacher", ("student.init_from", "evaluation")
"""What a file is to the job, as an error names it. The reader says on a line when it goes on to one of the
others, so that what ends it is not held against the teacher."""
LABELLED_BYTES = 512 * 2**20
"""Labelled images unpack to more than their file; the walls leave that much for them."""


@dataclass(frozen=True)
class Files:
    """What was uploaded, in one folder."""

    teacher: Path
    initial: Path | None = None
    """Weights that the student begins with."""
    labelled: Path | None = None
    """Data to measure accuracy on."""


@dataclass(frozen=True)
class Reading:
    """What is to be read, and how."""

    files: Files
    place: Path
    """The reader's own folder, with links to the files under the names that they have."""
    spec: dict[str, Any]
    offers: bool
    """Whether the inspection names students."""
    threads: int | None
    runner: int
    """Id of the process that forked the reader."""
    answer: int
    log: int
    """Descriptors to write to."""


def read(reading: Reading) -> None:
    """Read the files in this process, for which there is nothing else afterwards.

    Every end is an answer on `reading.answer`, or a crash.
    """
    from worker.kernel import die_with_parent

    die_with_parent()
    _close_in(reading)
    if os.getppid() != reading.runner:  # it died before the kernel was asked to end this process with it
        os._exit(70)
    begun = [TEACHER]
    try:
        answer: dict[str, Any] = {"inspection": to_json(_convert(reading, begun))}
    except DfadError as error:
        param = error.param if begun[-1] == TEACHER else begun[-1]
        answer = _error(error.code, error.message, param, begun[-1])
    except MemoryError:
        answer = _memory(begun[-1])
    except RuntimeError as error:
        if "allocate memory" not in str(error).lower() and "out of memory" not in str(error).lower():
            traceback.print_exc()
            raise
        answer = _memory(begun[-1])
    except BaseException:
        traceback.print_exc()
        raise
    with os.fdopen(reading.answer, "wb") as out:
        out.write(json.dumps(answer).encode())


def _close_in(reading: Reading) -> None:
    """Put up the walls."""
    import torch

    from worker.sandbox import close_all_but, confine
    from worker.walls import NEEDED

    if reading.threads is not None:
        torch.set_num_threads(reading.threads)
    files = reading.files
    os.chdir(reading.place)
    os.dup2(reading.log, 1)
    os.dup2(reading.log, 2)
    close_all_but((1, 2, reading.answer))
    given = [Path(path.name) for path in (files.teacher, files.initial) if path is not None]
    sizes = sum(path.stat().st_size for path in given)
    absent = confine(reading.place, sizes + (LABELLED_BYTES if files.labelled else 0))
    if bare := [wall for wall in absent if wall in NEEDED]:
        print(f"a foreign file is read without {' and '.join(bare)}", file=sys.stderr)


def _convert(reading: Reading, begun: list[str]) -> Inspection:
    """All files by their names in the folder: the way to it may be closed to the user that this is now."""
    from safetensors.torch import save_file

    from dfad_core import job
    from dfad_core.evaluation.inspection import inspect_teacher
    from dfad_core.formats.converted import write_converted
    from dfad_core.formats.initial import read_weights
    from dfad_core.formats.labelled import write_labelled
    from dfad_core.formats.labelled_file import read_labelled_file

    files = reading.files
    teacher = job.read_teacher(Path(files.teacher.name), TeacherSpec.from_json(reading.spec))
    inspection = inspect_teacher(teacher, offers=reading.offers)
    write_converted(teacher, Path(NAME))
    if files.initial is not None:
        begun.append(_told(reading, OTHERS[0]))
        tensors = read_weights(Path(files.initial.name))
        save_file({name: t.detach().clone().contiguous() for name, t in tensors.items()}, INITIAL)
    if files.labelled is not None:
        begun.append(_told(reading, OTHERS[1]))
        path = Path(files.labelled.name)
        images = read_labelled_file(path, teacher.input, teacher.num_classes, teacher.class_names)
        write_labelled(images, Path(LABELLED))
    return inspection


def _told(reading: Reading, about: str) -> str:
    """Tell that this file is read next."""
    os.write(reading.answer, f"{about}\n".encode())
    return about


def _memory(about: str) -> dict[str, Any]:
    text = "Reading the file needs more memory than is given."
    return _error("memory_limit", text, None if about == TEACHER else about, about)


def _error(code: str, message: str, param: str | None, about: str) -> dict[str, Any]:
    told = {"code": code, "message": message, "param": param, "teacher": about == TEACHER}
    return {"error": told}
