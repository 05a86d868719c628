"""The script with nothing but `curl`, one process a request."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.e2e.same_script.steps import Json, Refused

BYTES = "Content-Type: application/octet-stream"


def _parts(teacher: Path, spec: Json) -> list[str]:
    return ["-F", f"spec={json.dumps(spec)};type=application/json", "-F", f"teacher=@{teacher}"]


class Curl:
    """See `steps.Driver`."""

    lacks: Mapping[str, str] = {}

    def __init__(self, url: str, key: str, folder: Path) -> None:
        self._url, self._key, self._folder = url, key, folder

    def using(self, key: str) -> Curl:
        return Curl(self._url, key, self._folder)

    def _bytes(self, path: str, *arguments: str) -> bytes:
        answer = self._folder / "answer"
        answer.unlink(missing_ok=True)
        command = ["curl", "-sS", "--noproxy", "*", "-o", str(answer), "-w", "%{http_code}"]
        command += ["-H", f"Authorization: Bearer {self._key}", *arguments, self._url + path]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        content = answer.read_bytes() if answer.exists() else b""
        if int(done.stdout) >= 400:
            told = json.loads(content)
            assert told["status"] == int(done.stdout)
            raise Refused(told["status"], told["code"], [error["pointer"] for error in told["errors"]])
        return content

    def _json(self, path: str, *arguments: str) -> Any:
        content = self._bytes(path, *arguments)
        return json.loads(content) if content else None

    def _send(self, method: str, path: str, body: Json, *arguments: str) -> Any:
        sent = ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
        return self._json(path, "-X", method, *sent, *arguments)

    def alive(self) -> bool:
        return bool(self._json("/healthz")["status"] == "ok")

    def readiness(self) -> Json:
        return dict(self._json("/readyz")["checks"])

    def capabilities(self) -> Json:
        return dict(self._json("/capabilities"))

    def figures(self) -> str:
        return self._bytes("/metrics").decode()

    def validate(self, teacher: Path, spec: Json) -> Json:
        return dict(self._json("/jobs/validate", *_parts(teacher, spec)))

    def create_key(self, name: str, tenant: str) -> Json:
        return dict(self._send("POST", "/keys", {"name": name, "tenant_id": tenant}))

    def list_keys(self) -> list[Json]:
        return list(self._json("/keys?limit=100")["data"])

    def revoke(self, key_id: str) -> None:
        self._json(f"/keys/{key_id}", "-X", "DELETE")

    def create_teacher(self, path: Path) -> Json:
        return dict(self._json("/teachers", "-F", f"teacher=@{path}"))

    def teacher(self, teacher_id: str) -> Json:
        return dict(self._json(f"/teachers/{teacher_id}"))

    def _upload(self, path: Path) -> str:
        content = path.read_bytes()
        about = {"filename": path.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        upload = self._send("POST", "/uploads", about)
        size, here = upload["part_bytes"], f"/uploads/{upload['id']}"
        assert upload["part_count"] > 1
        part = self._folder / "part"
        for number in range(upload["part_count"]):
            part.write_bytes(content[number * size : (number + 1) * size])
            digest = base64.b64encode(hashlib.sha256(part.read_bytes()).digest()).decode()
            named = ["-H", BYTES, "-H", f"Content-Digest: sha-256=:{digest}:"]
            self._json(f"{here}/parts/{number + 1}", "-T", str(part), *named)
        return str(self._json(f"{here}/complete", "-X", "POST")["id"])

    def submit(
        self, teacher: Path | str, spec: Json, *, labelled: Path | None = None, key: str | None = None
    ) -> Json:
        once = ["-H", f"Idempotency-Key: {key}"] if key else []
        if labelled is not None:
            spec = {**spec, "evaluation": {"upload_id": self._upload(labelled)}}
        if isinstance(teacher, str):
            return dict(self._send("POST", "/jobs", {**spec, "teacher_id": teacher}, *once))
        return dict(self._json("/jobs", *_parts(teacher, spec), *once))

    def job(self, job_id: str) -> Json:
        return dict(self._json(f"/jobs/{job_id}"))

    def jobs(self, *, status: str | None = None, metadata: Mapping[str, str] | None = None) -> list[Json]:
        asked = {"status": status} if status else {}
        asked |= {f"metadata[{name}]": value for name, value in (metadata or {}).items()}
        query = [part for name, value in asked.items() for part in ("--data-urlencode", f"{name}={value}")]
        return list(self._json("/jobs", "-G", *query)["data"])

    def wait(self, job_id: str) -> Json:
        while not (job := self._json(f"/jobs/{job_id}", "-H", "Prefer: wait=20"))["terminal"]:
            pass
        return dict(job)

    def events(self, job_id: str) -> list[str]:
        text = self._bytes(f"/jobs/{job_id}/events", "-N", "-H", "Accept: text/event-stream").decode()
        return [
            line.removeprefix("event:").strip() for line in text.splitlines() if line.startswith("event:")
        ]

    def cancel(self, job_id: str) -> Json:
        return dict(self._json(f"/jobs/{job_id}/cancel", "-X", "POST"))

    def pause(self, job_id: str) -> Json:
        return dict(self._json(f"/jobs/{job_id}/pause", "-X", "POST"))

    def resume(self, job_id: str) -> Json:
        return dict(self._json(f"/jobs/{job_id}/resume", "-X", "POST"))

    def rerun(self, job_id: str) -> Json:
        return dict(self._json(f"/jobs/{job_id}/rerun", "-X", "POST"))

    def artifacts(self, job_id: str) -> list[Json]:
        return list(self._json(f"/jobs/{job_id}/artifacts")["data"])

    def student(self, job_id: str) -> bytes:
        return self._bytes(f"/jobs/{job_id}/student")

    def part_of_student(self, job_id: str, first: int, last: int) -> bytes:
        return self._bytes(f"/jobs/{job_id}/student", "-r", f"{first}-{last}")

    def report(self, job_id: str) -> bytes:
        [report] = [a for a in self.artifacts(job_id) if a["kind"] == "report"]
        return self._bytes(report["url"])

    def newest_sample(self, job_id: str) -> bytes:
        return self._bytes(self._json(f"/jobs/{job_id}/samples")["data"][-1]["url"])

    def series(self, job_id: str) -> list[Json]:
        return list(self._json(f"/jobs/{job_id}/metrics?points=5")["data"])

    def update(self, job_id: str, metadata: Mapping[str, str]) -> Json:
        return dict(self._send("PATCH", f"/jobs/{job_id}", {"metadata": dict(metadata)}))

    def evaluate(self, job_id: str, report: Json) -> Json:
        return dict(self._send("POST", f"/jobs/{job_id}/evaluations", report))

    def measure(self, job_id: str, labelled: Path) -> Json:
        return dict(self._send("POST", f"/jobs/{job_id}/measure", {"upload_id": self._upload(labelled)}))

    def delete(self, job_id: str) -> None:
        self._json(f"/jobs/{job_id}", "-X", "DELETE")
