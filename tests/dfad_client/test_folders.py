"""A Hugging Face folder given as a folder: what of it is sent, and what is no such folder."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import httpx2
import pytest

from dfad_client.folders import NotAFolder, one_file

TEACHER = {"id": "tch_1", "status": "ready", "inspection": {}, "error": None}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As a Trainer leaves it."""
    folder = tmp_path / "my-model"
    (folder / "checkpoint-500").mkdir(parents=True)
    for name in ("config.json", "preprocessor_config.json", "model.safetensors", "training_args.bin",
                 "optimizer.pt", "modeling.py", ".DS_Store", "checkpoint-500/config.json"):  # fmt: skip
        (folder / name).write_text(name)
    return folder


def packed(path: Path) -> dict[str, bytes]:
    with one_file(path) as file, zipfile.ZipFile(file) as archive:
        assert file.name == "my-model.zip"
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
        return {name: archive.read(name) for name in archive.namelist()}


def test_configs_and_weights_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(packed(folder)) == {"config.json", "preprocessor_config.json", "model.safetensors"}
    with one_file(folder) as first, one_file(folder) as second:
        assert first.read_bytes() == second.read_bytes()
    monkeypatch.chdir(folder)
    assert packed(Path())["config.json"] == b"config.json"
    with one_file(folder / "optimizer.pt") as file:
        assert file == folder / "optimizer.pt"


def test_shards_and_pickles(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    index = {"weight_map": {"x": "a.safetensors", "y": "../secret", "z": "absent"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert {"a.safetensors", "model.safetensors.index.json"} < set(packed(folder))
    (folder / "model.safetensors.index.json").unlink()
    (folder / "pytorch_model.bin").write_text("pickle")
    assert "pytorch_model.bin" in packed(folder)


@pytest.mark.parametrize(
    ("missing", "words"), [("config.json", "no config.json"), ("model.safetensors", "no model.safetensors")]
)
def test_what_is_no_such_folder(folder: Path, run: Any, missing: str, words: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(NotAFolder, match=words), one_file(folder):
        pass
    for command in (["inspect"], ["submit", "--student", "mlp8"], ["distill", "--student", "mlp8"]):
        done = run(command[0], str(folder), *command[1:])
        assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert words in done.stderr


def test_submit_and_inspect_send_it(folder: Path, run: Any, server: Any, fake: Any) -> None:
    server.on("POST", "/jobs", httpx2.Response(201, json=fake.job()))
    server.on("POST", "/teachers", httpx2.Response(201, json=TEACHER))
    server.on("GET", "/teachers/tch_1", httpx2.Response(200, json=TEACHER))
    assert run("submit", "my-model/", "--student", "mlp8").exit_code == 0
    assert run("inspect", "my-model", "--weights", "ema").exit_code == 0
    for request in server.requests[:2]:
        assert b'filename="my-model.zip"' in request.content
        start = request.content.index(b"PK\x03\x04")
        with zipfile.ZipFile(io.BytesIO(request.content[start:])) as archive:
            assert "config.json" in archive.namelist()
    assert b'{"weights": "ema"}' in server.requests[1].content.replace(b'":"', b'": "')
