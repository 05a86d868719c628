"""Colour teachers: each is small and without batch norm, and its file is all that it takes to load it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import colour_teachers
from benchmarks.engine.data import DataMissing
from dfad_core.networks.batch_norm import bn_layers

SMALL = "cifar10-groupnorm-resnet"


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(colour_teachers, "FOLDER", tmp_path / "teachers-of-the-benchmark")
    monkeypatch.setattr(colour_teachers, "FILE", tmp_path / "colour_teachers.jsonl")
    return tmp_path


def test_from_images_to_a_teacher_that_says_what_it_is(
    colour_data: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    colour_teachers.main(["--only", SMALL, "--seconds", "0.2", "--data", str(colour_data)])
    line = json.loads((results / "colour_teachers.jsonl").read_text())
    assert "COLOUR_TEACHER" in capsys.readouterr().out
    assert line["labeller"] == "cifar10-resnet56-public"
    assert line["epochs"] >= 1
    assert {"accuracy", "held_out_accuracy", "images_per_second", "parameters"} <= line.keys()
    loaded = colour_teachers.colour_teacher(SMALL)
    assert loaded.input == colour_teachers.INPUT
    assert not bn_layers(loaded.module)
    assert all(p.dtype == torch.float32 for p in loaded.module.parameters())
    images = colour_teachers.report_images(colour_data)
    assert images.accuracy(loaded.module, loaded.input) == pytest.approx(line["accuracy"], abs=1e-4)


def test_a_trial_leaves_nothing_behind(colour_data: Path, results: Path) -> None:
    options = [
        "--only",
        SMALL,
        "--seconds",
        "0.01",
        "--no-record",
        "--no-labeller",
        "--data",
        str(colour_data),
    ]
    colour_teachers.main([*options, "--no-record", "--no-labeller"])
    assert not colour_teachers.FILE.exists()
    assert not colour_teachers.FOLDER.exists()


@pytest.mark.parametrize("name", colour_teachers.PLANS)
def test_each_is_small_and_without_batch_norm(name: str, results: Path) -> None:
    if colour_teachers.PLANS[name].architecture == "transformers":
        pytest.importorskip("transformers")
    module = colour_teachers.network(colour_teachers.PLANS[name])
    parameters = sum(p.numel() for p in module.parameters())
    assert 300_000 < parameters < 1_000_000
    assert not bn_layers(module)
    assert colour_teachers.store(name, module).stat().st_size < 2_000_000
    loaded = colour_teachers.colour_teacher(name)
    assert loaded.module(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_the_folded_teacher_answers_as_the_public_one(colour_data: Path) -> None:
    x_BCHW = torch.randn(4, 3, 32, 32)
    plain, folded = (
        colour_teachers.colour_teacher(name, colour_data)
        for name in ("cifar10-resnet20-public", colour_teachers.FOLDED)
    )
    assert bn_layers(plain.module)
    assert not bn_layers(folded.module)
    torch.testing.assert_close(folded.module(x_BCHW), plain.module(x_BCHW), atol=1e-3, rtol=1e-3)


def test_what_is_held_out_is_not_trained_on(colour_data: Path) -> None:
    trained, held_out = (
        colour_teachers.training_images(colour_data),
        colour_teachers.held_out_images(colour_data),
    )
    assert (len(trained.labels_B), len(held_out.labels_B)) == (44, 4)


def test_what_is_missing_is_said(tmp_path: Path, results: Path) -> None:
    with pytest.raises(SystemExit, match="DFAD_DATA_DIR"):
        colour_teachers.main(["--data", str(tmp_path / "nowhere")])
    with pytest.raises(DataMissing, match=r"python -m benchmarks\.colour_teachers"):
        colour_teachers.colour_teacher(SMALL)
