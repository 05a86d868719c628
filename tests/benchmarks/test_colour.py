"""One colour run from files to its line, with a few made-up images and some updates."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import colour
from benchmarks.colour_teachers import PUBLIC_INPUT, colour_teacher
from benchmarks.engine.shown_images import ShownImages
from benchmarks.engine.work import Work
from dfad_core.contract.errors import ConfigError
from dfad_core.data.batch import Batch
from dfad_core.networks import build_classifier
from dfad_core.training import trainer

SMALL = ["--set", "training.batch_size=8", "training.generator_width=8", "training.student_optimizer=sgd"]


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(colour, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(trainer, "evaluate", lambda *_: None)  # seconds, and tested elsewhere
    return tmp_path / "results" / "colour.jsonl"


def test_from_files_to_the_last_line(
    colour_data: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    colour.main(["--data", str(colour_data), "--updates", "12", "--method", "auto", *SMALL])
    line = json.loads(results.read_text())
    assert (
        capsys.readouterr()
        .out.splitlines()[-1]
        .startswith("COLOUR pair=cifar10-resnet20-public:resnet8 method=auto")
    )
    assert line["settings"] == {
        "training.batch_size": 8,
        "training.generator_width": 8,
        "training.student_optimizer": "sgd",
    }
    assert line["budget"] == {"kind": "updates", "amount": 12.0}
    assert line["image_source"] == "generator"
    assert line["student_updates"] == 20  # whole rounds of twenty
    assert line["presentations"] == 20 * 8
    assert line["distinct_images"] == line["steps"] * 8
    assert 0 <= line["class_entropy"] <= 1
    assert 0.1 <= line["teacher_confidence"] <= 1
    assert sum(line["time_shares"].values()) == pytest.approx(1, abs=0.01)
    for part in ("teacher", "student", "image_source", "backward_to_images"):
        assert line["time_shares"][part] > 0
    assert 0 < line["teacher_pflop"] < line["pflop"]
    assert "choosing_accuracy" in line
    assert "accuracy" not in line
    assert "other_agreement" not in line


def test_agreement_on_images_of_other_classes(
    coloured: Callable[..., Path], colour_data: Path, results: Path
) -> None:
    coloured("cifar100-train-0.parquet", 12)
    colour.main(["--data", str(colour_data), "--updates", "1", "--method", "level_sets", *SMALL])
    assert 0 <= json.loads(results.read_text())["other_agreement"] <= 1


def test_the_test_images_are_scored_for_a_report_only(colour_data: Path, results: Path) -> None:
    options = ["--data", str(colour_data), "--updates", "1", "--report", "--method", "level_sets", *SMALL]
    colour.main([*options, "--teacher", "cifar10-resnet20-folded"])
    line = json.loads(results.read_text())
    assert {"accuracy", "teacher_accuracy"} <= line.keys()
    assert line["time_shares"]["backward_to_images"] == 0


@pytest.mark.parametrize("method", ["auto", "zskt", "mad", "fast", "best"])
def test_a_budget_of_teacher_work_is_kept(method: str, colour_data: Path) -> None:
    teacher = colour_teacher("cifar10-resnet20-public", colour_data).module
    student = build_classifier("resnet8", num_classes=10, input_shape=(3, 32, 32))
    settings = {"training.batch_size": 16, "training.generator_width": 8}
    config = colour.config_for(method, 0, PUBLIC_INPUT, settings)
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    first, later = colour.queries_a_round(config, teacher, student)
    assert all(torch.equal(tensor, before[name]) for name, tensor in student.state_dict().items())
    # auto labels again what it compares by stages. best: classes, 20 steps and statistics in one of ten
    # rounds, 4 batches of views in each, and 15 batches of drawings in the first. fast: 5 steps, 50 batches
    # of views in ten of eleven rounds.
    batches = {"auto": (20, 20), "zskt": (1, 1), "mad": (2, 2), "best": (41, 6.2)}
    batches["fast"] = (5, 5 + 50 * 10 / 11)
    assert (first, later) == pytest.approx([16 * count for count in batches[method]])
    work = Work(config, teacher, student)
    budget = colour.Budget("teacher_pflop", work.teacher_petaflop(10, first + 9 * later))
    assert colour.budget_config(budget, config, teacher, student).steps in (10, 11)


def test_settings_are_named_and_checked() -> None:
    settings = colour.settings_of(["training.student_learning_rate=0.1", "method.imitation=kl"])
    assert settings == {"method.imitation": "kl", "training.student_learning_rate": 0.1}
    config = colour.config_for("best", 3, PUBLIC_INPUT, settings)
    assert (config.method.imitation, config.training.student_learning_rate, config.seed) == ("kl", 0.1, 3)
    for name in ("training.no_such", "method.name", "seed", "budget.steps"):
        with pytest.raises(ValueError, match=name):
            colour.config_for("best", 0, PUBLIC_INPUT, {name: 1})
    with pytest.raises(ConfigError):
        colour.config_for("best", 0, PUBLIC_INPUT, {"training.batch_size": 0})
    with pytest.raises(ValueError, match="batch"):
        colour.settings_of(["training.batch_size"])


def test_a_run_is_known_by_all_that_makes_it() -> None:
    run = colour.Run("t", "s", "best", 0, colour.Budget("seconds", 60.0), {"training.batch_size": 8}, "first")
    line: dict[str, Any] = {**json.loads(json.dumps(run.about())), "git_revision": "any", "time": "now"}
    assert run.is_in(line)
    changes: dict[str, Any] = {
        "teacher": "other",
        "student": "other",
        "method": "dfad",
        "seed": 1,
        "budget": colour.Budget("updates", 60.0),
        "settings": {},
        "recipe": "second",
    }
    for name, value in changes.items():
        assert not dataclasses.replace(run, **{name: value}).is_in(line)


def test_images_shown_again_are_not_distinct() -> None:
    shown = ShownImages(4)
    images_BCHW = torch.arange(4).reshape(4, 1, 1, 1) * torch.ones(4, 3, 8, 8)
    logits_BK = 20.0 * torch.eye(4)
    for _ in range(2):
        shown.count(Batch(images_BCHW.to(torch.bfloat16), logits_BK))
    figures = shown.figures()
    assert (figures["presentations"], figures["distinct_images"]) == (8, 4)
    assert figures["class_entropy"] == pytest.approx(1)
    assert figures["teacher_confidence"] == pytest.approx(1, abs=1e-4)
    one_class = ShownImages(4)
    one_class.count(Batch(images_BCHW, logits_BK[:1].expand(4, 4)))
    assert one_class.figures()["class_entropy"] == pytest.approx(0)


def test_missing_data_is_said(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="DFAD_DATA_DIR"):
        colour.main(["--data", str(tmp_path / "nowhere")])
