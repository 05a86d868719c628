"""A result line says what is needed to judge it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import record


def test_appends_one_json_line_a_run(tmp_path: Path) -> None:
    path = tmp_path / "results" / "r.jsonl"
    for seed in (1, 2):
        record.append(path, {"dataset": "d", "seconds": 1.5, "seed": seed}, torch.device("cpu"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["seed"] for line in lines] == [1, 2]
    for line in lines:
        assert line["device"] == "cpu"
        assert line["versions"]["torch"] == torch.__version__
        assert line["machine"]["processors"] >= 1
        assert {"time", "git_revision", "git_clean"} <= line.keys()


def test_no_repository_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert record.revision() == {"git_revision": None, "git_clean": None}


def test_no_git_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert record.revision()["git_revision"] is None
