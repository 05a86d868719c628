"""A job's manifest: everything that its student came from, so that it can be made again and compared."""

from __future__ import annotations

import json
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import select

from app.config import get_settings
from app.db import read_scope
from app.jobs.lifecycle import Claim
from app.models import Artifact, Teacher
from app.models.artifact import INPUTS
from worker.protocol import Message

FORMAT = "dfad-manifest-1"


def manifest(claim: Claim, result: dict[str, Any], made: list[Artifact]) -> Message:
    """The file as a runner would send one. `spec` is pinned: it asks for what the job came down to."""
    with read_scope() as session:
        teacher = session.get_one(Teacher, claim.teacher_id)
        file = session.get_one(Artifact, teacher.artifact_id)
        mine = (Artifact.job_id == claim.job_id, Artifact.kind.in_(INPUTS))
        inputs = list(session.scalars(select(Artifact).where(*mine)))
    training = result.get("training", {})
    spec = {name: value for name, value in claim.resolved_spec.items() if name not in ("metadata", "keep")}
    pinned = {name: training[name] for name in ("threads", "precision") if name in training}
    spec["training"] = {**spec["training"], **pinned}
    spec["device"] = str(training.get("device", spec["device"])).split(":")[0]
    fixed = bool(training.get("complete")) and not training.get("threads_changed")
    about = {
        "format": FORMAT,
        "job_id": claim.job_id,
        "teacher": {"id": teacher.id, **_file(file)},
        "inputs": [{"kind": a.kind, **_file(a)} for a in inputs],
        "spec": spec,
        "seed": spec["seed"],
        "steps": training.get("steps"),
        "repeatable": fixed and spec["budget"].get("train_seconds") is None,
        "versions": result.get("versions", {}),
        "revision": revision(),
        "machine": {"processor": _processor(), "architecture": platform.machine()},
        "artifacts": [{"kind": a.kind, **_file(a)} for a in made],
    }
    content = json.dumps(about, indent=2, sort_keys=True).encode()
    told = {"kind": "manifest", "filename": "manifest.json", "media_type": "application/json"}
    return Message("artifact", told, content)


def _file(artifact: Artifact) -> dict[str, Any]:
    return {"filename": artifact.filename, "bytes": artifact.bytes, "sha256": artifact.sha256}


@cache
def revision() -> str | None:
    """Of this program's sources: as it was built, or as it lies in a checkout; None if nobody knows."""
    if get_settings().revision is not None:
        return get_settings().revision
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return ran.stdout.strip()


def _processor() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), None)
