"""The script with the `dfad` command line, one process a command, all with --json."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testing.running_service import clean_environment
from tests.e2e.same_script.steps import Json, Refused

REFUSED = 3


class CommandLine:
    """See `steps.Driver`."""

    lacks: Mapping[str, str] = {
        "capabilities": "no command shows them; `doctor` uses them",
        "validate": "no dry run; `submit` is refused for the same reasons",
        "range": "downloads that break off go on by ranges by themselves",
        "series": "curves are for the page and for programs",
        "twice": "each command makes a key of its own and keeps it over its tries",
        "remember": "no command changes metadata or posts an evaluation",
        "delete": "no command deletes",
        "figures": "/metrics is for Prometheus",
    }

    def __init__(self, url: str, key: str, folder: Path) -> None:
        self._url, self._key, self._folder = url, key, folder

    def using(self, key: str) -> CommandLine:
        return CommandLine(self._url, key, self._folder)

    def _lines(self, *arguments: str) -> list[Any]:
        environment = clean_environment(DFAD_BASE_URL=self._url, DFAD_API_KEY=self._key)
        command = [sys.executable, "-m", "dfad_client", *arguments, "--json"]
        done = subprocess.run(
            command, cwd=self._folder, env=environment, capture_output=True, text=True, check=False
        )
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        if done.returncode == REFUSED:
            error = lines[-1]["error"]
            raise Refused(error["status"], error["code"], [one["pointer"] for one in error["errors"]])
        assert done.returncode in (0, 1), done.stderr
        return lines

    def _json(self, *arguments: str) -> Any:
        return self._lines(*arguments)[-1]

    def alive(self) -> bool:
        return bool(self._json("doctor")["checks"]["server"] == "ok")

    def readiness(self) -> Json:
        found = self._json("doctor")["checks"]
        return {name: found[name] for name in ("database", "broker", "storage", "worker")}

    def create_key(self, name: str, tenant: str) -> Json:
        return dict(self._json("keys", "create", name, "--tenant", tenant))

    def list_keys(self) -> list[Json]:
        return list(self._json("keys", "list")["data"])

    def revoke(self, key_id: str) -> None:
        self._json("keys", "revoke", key_id)

    def create_teacher(self, path: Path) -> Json:
        return dict(self._json("inspect", str(path)))

    def teacher(self, teacher_id: str) -> Json:
        return dict(self._json("inspect", teacher_id))

    def submit(
        self, teacher: Path | str, spec: Json, *, labelled: Path | None = None, key: str | None = None
    ) -> Json:
        file = self._folder / "spec.json"
        file.write_text(json.dumps(spec))
        measured = ["--evaluate-on", str(labelled)] if labelled else []
        return dict(self._json("submit", str(teacher), "--spec", str(file), *measured))

    def measure(self, job_id: str, labelled: Path) -> Json:
        return dict(self._json("measure", job_id, str(labelled)))

    def job(self, job_id: str) -> Json:
        return dict(self._json("show", job_id))

    def jobs(self, *, status: str | None = None, metadata: Mapping[str, str] | None = None) -> list[Json]:
        asked = ["--status", status] if status else []
        asked += [
            part for name, value in (metadata or {}).items() for part in ("--metadata", f"{name}={value}")
        ]
        return list(self._json("list", *asked)["data"])

    def wait(self, job_id: str) -> Json:
        return dict(self._json("watch", job_id))

    def events(self, job_id: str) -> list[str]:
        *events, job = self._lines("watch", job_id)
        assert job["id"] == job_id
        return [event["type"] for event in events]

    def cancel(self, job_id: str) -> Json:
        return dict(self._json("cancel", job_id))

    def pause(self, job_id: str) -> Json:
        return dict(self._json("pause", job_id))

    def resume(self, job_id: str) -> Json:
        return dict(self._json("resume", job_id))

    def rerun(self, job_id: str) -> Json:
        return dict(self._json("rerun", job_id))

    def artifacts(self, job_id: str) -> list[Json]:
        return list(self.job(job_id)["artifacts"])

    def _file(self, job_id: str, *which: str) -> bytes:
        told = self._json("download", job_id, "-o", str(self._folder / "file"), *which)
        return Path(told["path"]).read_bytes()

    def student(self, job_id: str) -> bytes:
        return self._file(job_id)

    def report(self, job_id: str) -> bytes:
        return self._file(job_id, "--kind", "report")

    def newest_sample(self, job_id: str) -> bytes:
        return self._file(job_id, "--kind", "samples")
