"""A job's manifest: everything that its student depends on, so that it can be trained again and compared."""

from __future__ import annotations

import json
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from app.jobs.lifecycle import Claim
from app.leases.files import SourceFile, Sources, StoredFile
from app.models.artifact import INPUTS
from app.platform.settings import get_settings
from dfad_core.contract.job_result import JobResult
from dfad_core.contract.machine import processor_name

FORMAT = "dfad-manifest-1"


def manifest(claim: Claim, sources: Sources, result: JobResult, artifacts: list[StoredFile]) -> bytes:
    """The file's bytes. Its `spec` names the device, precision and threads of the run."""
    training = result.training
    spec: dict[str, Any] = {
        name: value for name, value in claim.resolved_spec.items() if name not in ("metadata", "keep")
    }
    pinned = {"threads": training.threads, "precision": training.precision or None}
    spec["training"] = {**spec["training"], **{name: v for name, v in pinned.items() if v is not None}}
    spec["device"] = (training.device or str(spec["device"])).split(":")[0]
    fixed = training.complete and not training.threads_changed
    about = {
        "format": FORMAT,
        "job_id": claim.job_id,
        "teacher": {"id": claim.teacher_id, **_file(sources.files[0])},
        "inputs": [{"kind": a.kind, **_file(a)} for a in sources.of(*INPUTS)],
        "spec": spec,
        "seed": spec["seed"],
        "steps": training.steps,
        "repeatable": fixed and spec["budget"].get("train_seconds") is None,
        "versions": dict(result.versions),
        "revision": revision(),
        "machine": {"processor": processor_name(), "architecture": platform.machine()},
        "artifacts": [{"kind": a.kind, **_file(a)} for a in artifacts],
    }
    return json.dumps(about, indent=2, sort_keys=True).encode()


def _file(artifact: SourceFile | StoredFile) -> dict[str, Any]:
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
