"""The script with a client that `openapi-python-client` makes of /openapi.json."""

from __future__ import annotations

import base64
import hashlib
import importlib
import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.e2e.same_script.steps import Json, Refused

PACKAGE = "dfad_generated"
TERMINAL = ("job.succeeded", "job.failed", "job.cancelled")


def generate(description: bytes, folder: Path) -> Path:
    """The package, in `folder`. Any warning of the generator is a failure, as is any error."""
    source = folder / "openapi.json"
    source.write_bytes(description)
    # The generator brings its files into shape with the ruff that it finds on the PATH.
    found = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--path", str(source)]
    command += ["--meta", "none", "--output-path", str(folder / PACKAGE), "--fail-on-warning"]
    done = subprocess.run(
        command, env={**os.environ, "PATH": found}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower(), done.stdout + done.stderr
    return folder / PACKAGE


class Generated:
    """See `steps.Driver`."""

    lacks: Mapping[str, str] = {}

    def __init__(self, url: str, key: str, folder: Path) -> None:
        self._url, self._key, self._folder = url, key, folder
        self._client = importlib.import_module(f"{PACKAGE}.client").AuthenticatedClient(
            base_url=url, token=key, timeout=60.0, httpx_args={"trust_env": False}
        )
        self._types = importlib.import_module(f"{PACKAGE}.types")
        self._models = importlib.import_module(f"{PACKAGE}.models")

    def using(self, key: str) -> Generated:
        return Generated(self._url, key, self._folder)

    def _call(self, operation: str, *arguments: Any, **named: Any) -> Any:
        """What the operation's function gives; a Problem as Refused."""
        module = importlib.import_module(f"{PACKAGE}.api.{operation}")
        answer = module.sync_detailed(*arguments, client=self._client, **named)
        found = answer.parsed
        if isinstance(found, self._models.Problem):
            assert found.status == answer.status_code
            raise Refused(found.status, found.code, [error.pointer for error in found.errors or []])
        assert answer.status_code < 300, answer
        return found

    def _json(self, operation: str, *arguments: Any, **named: Any) -> Json:
        return dict(self._call(operation, *arguments, **named).to_dict())

    def _bytes(self, operation: str, *arguments: Any, **named: Any) -> bytes:
        return bytes(self._call(operation, *arguments, **named).payload.read())

    def _file(self, content: bytes, name: str | None = None) -> Any:
        return self._types.File(payload=io.BytesIO(content), file_name=name)

    def _parts(self, body: str, teacher: Path, spec: Json) -> Any:
        file = self._file(teacher.read_bytes(), teacher.name)
        return getattr(self._models, body)(teacher=file, spec=self._models.JobSpec.from_dict(spec))

    def alive(self) -> bool:
        return bool(self._call("health.healthz").status == "ok")

    def readiness(self) -> Json:
        return dict(self._json("health.readyz")["checks"])

    def capabilities(self) -> Json:
        return self._json("capabilities.capabilities")

    def figures(self) -> str:
        return str(self._call("health.metrics"))

    def validate(self, teacher: Path, spec: Json) -> Json:
        return self._json("jobs.validate_job", body=self._parts("ValidateJobFilesBody", teacher, spec))

    def create_key(self, name: str, tenant: str) -> Json:
        return self._json("keys.create_key", body=self._models.KeyRequest(name=name, tenant_id=tenant))

    def list_keys(self) -> list[Json]:
        return list(self._json("keys.list_keys", limit=100)["data"])

    def revoke(self, key_id: str) -> None:
        self._call("keys.revoke_key", key_id)

    def create_teacher(self, path: Path) -> Json:
        body = self._models.CreateTeacherFilesBody(teacher=self._file(path.read_bytes(), path.name))
        return self._json("teachers.create_teacher", body=body)

    def teacher(self, teacher_id: str) -> Json:
        return self._json("teachers.retrieve_teacher", teacher_id)

    def _upload(self, path: Path) -> str:
        content = path.read_bytes()
        about = self._models.UploadRequest(
            filename=path.name, bytes_=len(content), sha256=hashlib.sha256(content).hexdigest()
        )
        upload = self._call("uploads.create_upload", body=about)
        for number in range(upload.part_count):
            part = content[number * upload.part_bytes : (number + 1) * upload.part_bytes]
            digest = base64.b64encode(hashlib.sha256(part).digest()).decode()
            named = {"body": self._file(part), "content_digest": f"sha-256=:{digest}:"}
            self._call("uploads.put_part", upload.id, number + 1, **named)
        return str(self._call("uploads.complete_upload", upload.id).id)

    def submit(
        self, teacher: Path | str, spec: Json, *, labelled: Path | None = None, key: str | None = None
    ) -> Json:
        once = {"idempotency_key": key} if key else {}
        if labelled is not None:
            spec = {**spec, "evaluation": {"upload_id": self._upload(labelled)}}
        if isinstance(teacher, str):
            body = self._models.JobRequest.from_dict({**spec, "teacher_id": teacher})
        else:
            body = self._parts("CreateJobFilesBody", teacher, spec)
        return self._json("jobs.create_job", body=body, **once)

    def job(self, job_id: str) -> Json:
        return self._json("jobs.retrieve_job", job_id)

    def jobs(self, *, status: str | None = None, metadata: Mapping[str, str] | None = None) -> list[Json]:
        named: dict[str, Any] = {"status": self._models.Status(status)} if status else {}
        if metadata:
            # The generator sends an object in a query as its fields alone: the names are spelt out here.
            asked = {f"metadata[{name}]": value for name, value in metadata.items()}
            named["metadata"] = self._models.ListJobsMetadata.from_dict(asked)
        return list(self._json("jobs.list_jobs", **named)["data"])

    def wait(self, job_id: str) -> Json:
        while not (job := self._call("jobs.retrieve_job", job_id, prefer="wait=20")).terminal:
            pass
        return dict(job.to_dict())

    def events(self, job_id: str) -> list[str]:
        """Page by page: generated functions read answers whole, so a stream is not for them."""
        kinds: list[str] = []
        after = 0
        while not kinds or kinds[-1] not in TERMINAL:
            page = self._call("jobs.list_events", job_id, after=after)
            kinds += [event.type_ for event in page.data]
            after = page.last_seq
            if not page.data:
                self._call("jobs.retrieve_job", job_id, prefer="wait=5")
        return kinds

    def cancel(self, job_id: str) -> Json:
        return self._json("jobs.cancel_job", job_id)

    def pause(self, job_id: str) -> Json:
        return self._json("jobs.pause_job", job_id)

    def resume(self, job_id: str) -> Json:
        return self._json("jobs.resume_job", job_id)

    def rerun(self, job_id: str) -> Json:
        return self._json("jobs.rerun_job", job_id)

    def artifacts(self, job_id: str) -> list[Json]:
        return list(self._json("jobs.list_artifacts", job_id)["data"])

    def student(self, job_id: str) -> bytes:
        return self._bytes("jobs.download_student", job_id)

    def part_of_student(self, job_id: str, first: int, last: int) -> bytes:
        return self._bytes("jobs.download_student", job_id, range_=f"bytes={first}-{last}")

    def report(self, job_id: str) -> bytes:
        [report] = [a for a in self.artifacts(job_id) if a["kind"] == "report"]
        return self._bytes("artifacts.download_artifact", report["id"])

    def newest_sample(self, job_id: str) -> bytes:
        newest = self._call("jobs.list_samples", job_id).data[-1]
        return self._bytes("artifacts.download_artifact", newest.id)

    def series(self, job_id: str) -> list[Json]:
        return list(self._json("jobs.list_metrics", job_id, points=5)["data"])

    def update(self, job_id: str, metadata: Mapping[str, str]) -> Json:
        body = self._models.JobPatch.from_dict({"metadata": dict(metadata)})
        return self._json("jobs.patch_job", job_id, body=body)

    def evaluate(self, job_id: str, report: Json) -> Json:
        body = self._models.EvaluationReport.from_dict(report)
        return self._json("jobs.add_evaluation", job_id, body=body)

    def measure(self, job_id: str, labelled: Path) -> Json:
        body = self._models.MeasurementRequest.from_dict({"upload_id": self._upload(labelled)})
        return self._json("jobs.measure_job", job_id, body=body)

    def delete(self, job_id: str) -> None:
        self._call("jobs.delete_job", job_id)
