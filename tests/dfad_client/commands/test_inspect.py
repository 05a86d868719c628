"""`dfad inspect`: a file or a known teacher, what it is and what suits it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from dfad_client.commands import submit

FOUND = {
    "architecture": "cnn8",
    "args": {"width": 20},
    "num_classes": 10,
    "input": {"shape": [1, 8, 8]},
    "format": "safetensors",
    "parameters": 23590,
    "bytes": 95184,
    "macs": 704320,
    "norms": {"BatchNorm2d": 3},
    "notes": ["inferred architecture cnn8"],
    "methods": [
        {"name": "best", "suits": True, "reason": "has BN"},
        {"name": "noise", "suits": False, "reason": "sure of all noise"},
    ],
}


def teacher(**changes: Any) -> httpx2.Response:
    return httpx2.Response(200, json={"id": "tch_1", "status": "ready", "inspection": FOUND, **changes})


def test_a_file_is_sent_and_told_of(run: Any, server: Any) -> None:
    server.on("POST", "/teachers", teacher(status="inspecting", inspection=None))
    server.on("GET", "/teachers/tch_1", teacher(status="inspecting", inspection=None), teacher())
    done = run("inspect", "t.pt", "--architecture", "cnn8")
    assert done.exit_code == 0
    for words in (
        "tch_1: ready",
        "cnn8 width=20",
        "23,590 parameters",
        "1x8x8, 10 classes",
        "3 BatchNorm2d",
        "best: has BN",
        "not          noise: sure of all noise",
        "11,795, 5,897, 2,359",
    ):
        assert words in done.stdout
    assert b'{"architecture": "cnn8"}' in server.sent("POST", "/teachers")[0].content


def test_a_known_one_is_looked_up_with_the_students_that_it_is_offered(run: Any, server: Any) -> None:
    student = {"architecture": "cnn8", "args": {"width": 9}, "parameters": 5275, "compression": 4.47,
               "macs": 144_100, "one_image_milliseconds": 0.1234}  # fmt: skip
    server.on("GET", "/teachers/tch_1", teacher(inspection={**FOUND, "students": [student]}))
    told = "cnn8 width=9: 5,275 parameters, 4.47 times fewer, 144,100 multiply-accumulates, 0.123 ms an image"
    assert told in run("inspect", "tch_1").stdout
    assert run("inspect", "tch_1", "-q").stdout == "tch_1\n"
    assert json.loads(run("inspect", "tch_1", "--json").stdout)["inspection"]["parameters"] == 23590


def test_a_rejected_one_is_exit_code_1(run: Any, server: Any) -> None:
    error = {"code": "corrupt_file", "message": "It is torn."}
    server.on("GET", "/teachers/tch_1", teacher(status="rejected", inspection=None, error=error))
    done = run("inspect", "tch_1")
    assert done.exit_code == 1
    assert "corrupt_file: It is torn." in done.stdout
    assert run("inspect", "absent.pt").exit_code == 2


def test_large_files_go_in_parts(
    run: Any, server: Any, fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "IN_PARTS_BYTES", 3)
    view = {"id": "upl_1", "status": "open", "bytes": 7, "part_bytes": 7, "part_count": 1, "parts": []}
    server.on("POST", "/uploads", httpx2.Response(201, json=view))
    server.on("PUT", "/uploads/upl_1/parts/1", httpx2.Response(200, json=view))
    server.on("POST", "/uploads/upl_1/complete", httpx2.Response(200, json=view))
    server.on("POST", "/jobs", httpx2.Response(201, json=fake.job()))
    assert run("submit", "t.pt", "--student", "mlp8", "--metadata", "team=vision").stdout == "job_1\n"
    assert json.loads(server.sent("POST", "/jobs")[0].content) == {
        "student": {"architecture": "mlp8"},
        "metadata": {"team": "vision"},
        "upload_id": "upl_1",
    }
