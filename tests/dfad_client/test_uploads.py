"""Uploads in parts by the client, and jobs run again from their manifest.

Guards: that only missing parts are sent, under one key for one file, each with its digest; and that a
manifest never runs with another teacher than the one it names.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner

from dfad_client import Client
from dfad_client.cli import app

CONTENT = bytes(range(250)) * 4
SHA = hashlib.sha256(CONTENT).hexdigest()


def upload_view(*parts: int, status: str = "open") -> dict[str, Any]:
    there = [{"number": n, "bytes": min(400, 1000 - 400 * (n - 1)), "sha256": "x"} for n in parts]
    return {
        "id": "upl_1",
        "status": status,
        "bytes": 1000,
        "part_bytes": 400,
        "part_count": 3,
        "parts": there,
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "teacher.bin"
    path.write_bytes(CONTENT)
    return path


def test_only_what_is_missing_is_sent(client: Client, server: Any, file: Path) -> None:
    server.on("POST", "/uploads", httpx2.Response(201, json=upload_view(2)))
    for number in (1, 3):
        server.on("PUT", f"/uploads/upl_1/parts/{number}", httpx2.Response(200, json=upload_view()))
    server.on("POST", "/uploads/upl_1/complete", httpx2.Response(200, json=upload_view(1, 2, 3)))
    told: list[tuple[int, int]] = []
    assert client.uploads.send(file, on_progress=lambda done, of: told.append((done, of))) == "upl_1"
    begun = server.sent("POST", "/uploads")[0]
    assert json.loads(begun.content) == {"filename": "teacher.bin", "bytes": 1000, "sha256": SHA}
    for number, piece in ((1, CONTENT[:400]), (3, CONTENT[800:])):
        sent = server.sent("PUT", f"/uploads/upl_1/parts/{number}")[0]
        assert sent.content == piece
        digest = base64.b64encode(hashlib.sha256(piece).digest()).decode()
        assert sent.headers["content-digest"] == f"sha-256=:{digest}:"
    assert told[-1] == (1000, 1000)
    client.uploads.send(file)
    keys = {request.headers["idempotency-key"] for request in server.sent("POST", "/uploads")}
    assert len(keys) == 1


def test_a_completed_upload_sends_nothing(client: Client, server: Any, file: Path) -> None:
    server.on("POST", "/uploads", httpx2.Response(201, json=upload_view(1, 2, 3, status="completed")))
    assert client.uploads.send(file) == "upl_1"
    assert len(server.requests) == 1


def manifest(path: Path, **changes: Any) -> Path:
    about = {
        "format": "dfad-manifest-1",
        "teacher": {"id": "tch_1", "sha256": SHA},
        "spec": {"student": {"architecture": "mlp8"}, "seed": 7},
        "artifacts": [{"kind": "student", "sha256": "ab"}],
        "repeatable": True,
        **changes,
    }
    path.write_text(json.dumps(about))
    return path


def test_a_manifest_is_run_again_with_the_teacher_that_is_there(
    run: Any, server: Any, fake: Any, tmp_path: Path
) -> None:
    server.on("POST", "/jobs", httpx2.Response(201, json=fake.job()))
    result = run("rerun", str(manifest(tmp_path / "m.json")))
    assert (result.exit_code, result.stdout.strip()) == (0, "job_1")
    sent = json.loads(server.sent("POST", "/jobs")[0].content)
    assert sent == {"student": {"architecture": "mlp8"}, "seed": 7, "teacher_id": "tch_1"}


def test_a_teacher_that_is_gone_has_to_be_named(
    run: Any, server: Any, fake: Any, tmp_path: Path, file: Path
) -> None:
    server.on("POST", "/jobs", fake.problem(404, "not_found"))
    path = manifest(tmp_path / "m.json")
    result = run("rerun", str(path))
    assert result.exit_code == 2
    assert "--teacher FILE" in result.stderr
    server.on("POST", "/jobs", httpx2.Response(201, json=fake.job()))
    assert run("rerun", str(path), "--teacher", str(file)).exit_code == 0
    file.write_bytes(b"another one")
    result = run("rerun", str(path), "--teacher", str(file))
    assert result.exit_code == 2
    assert "not the teacher" in result.stderr


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": "dfad-manifest-1", "artifacts": []}'])
def test_what_is_no_manifest(run: Any, tmp_path: Path, content: str) -> None:
    (tmp_path / "m.json").write_text(content)
    result = run("rerun", str(tmp_path / "m.json"))
    assert result.exit_code == 2
    assert "no manifest" in result.stderr


def test_a_target_and_exports_from_the_command_line(run: Any, server: Any, fake: Any, file: Path) -> None:
    server.on("POST", "/jobs", httpx2.Response(201, json=fake.job()))
    options = ("--max-parameters", "3000", "--export", "onnx", "--export", "int8")
    assert run("submit", "tch_1", *options).exit_code == 0
    sent = json.loads(server.sent("POST", "/jobs")[0].content)
    assert sent["student"] == {"target": {"max_parameters": 3000}}
    assert sent["exports"] == ["onnx", "int8"]
    assert run("submit", "tch_1", "--student", "mlp8", "--max-macs", "1").exit_code == 2


def test_help_names_the_new_options() -> None:
    text = CliRunner().invoke(app, ["submit", "--help"]).stdout
    assert all(option in text for option in ("--evaluate-on", "--init-from", "--export", "--max-bytes"))
