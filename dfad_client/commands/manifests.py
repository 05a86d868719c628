"""The same job again from its manifest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfad_client import Client
from dfad_client.answers import Job
from dfad_client.commands.spec import UsageError
from dfad_client.errors import ApiError

FORMAT = "dfad-manifest-1"
GONE = 404


@dataclass(frozen=True)
class Manifest:
    """What a manifest says that is needed to run it again."""

    teacher_id: str
    teacher_sha256: str
    spec: dict[str, Any]
    student_sha256: str
    repeatable: bool

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Raises UsageError for what is no manifest, OSError of the disk."""
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            if raw["format"] != FORMAT:
                raise ValueError
            student = next(a for a in raw["artifacts"] if a["kind"] == "student")
            teacher = raw["teacher"]
            return cls(
                str(teacher["id"]),
                str(teacher["sha256"]),
                dict(raw["spec"]),
                str(student["sha256"]),
                bool(raw["repeatable"]),
            )
        except (ValueError, KeyError, TypeError, StopIteration):
            raise UsageError(f"{path} is no manifest of a job") from None


def run_again(client: Client, manifest: Manifest, teacher: Path | None) -> Job:
    """A job with the same teacher and the same resolved spec.

    With `teacher`, that file is sent, if it is the one that the manifest names; without, the server must
    still have it. Raises UsageError where the teacher is another one or gone, else as `client.jobs.create`.
    """
    if teacher is not None:
        with teacher.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != manifest.teacher_sha256:
            raise UsageError(f"{teacher} is not the teacher that the manifest names (its SHA-256 is another)")
        return client.jobs.create(teacher, spec=manifest.spec)
    try:
        return client.jobs.create(teacher_id=manifest.teacher_id, spec=manifest.spec)
    except ApiError as error:
        if error.status != GONE:
            raise
        raise UsageError("the server has not that teacher any more; name its file: --teacher FILE") from None


def verdict(client: Client, manifest: Manifest, job: Job) -> str:
    """Whether a job that has ended gave the manifest's student."""
    if client.jobs.student(job.id).sha256 == manifest.student_sha256:
        return "The student is the manifest's, bit for bit."
    why = ""
    if not manifest.repeatable:
        why = " (the clock ended the first run, or its number of threads changed: it cannot be repeated)"
    return f"The student is another one than the manifest's{why}."
