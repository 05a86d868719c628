"""The MNIST run from files to its last line, with a few made-up images and a second of training."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from benchmarks import mnist
from benchmarks.engine.snapshots import Snapshots, same_network
from benchmarks.machine_load import LOAD_LIMIT
from dfad_core.contract.methods import METHODS
from dfad_core.hooks import Progress
from dfad_core.networks import build_classifier


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with 12 images and an untrained teacher."""
    buffers = []
    for i in range(12):
        buffers.append(io.BytesIO())
        Image.fromarray(np.full((28, 28), 20 * i, np.uint8)).save(buffers[-1], format="PNG")
    images = pa.array([b.getvalue() for b in buffers], pa.binary())
    labels = pa.array([i % 10 for i in range(12)], pa.int8())
    pq.write_table(pa.table({"image": images, "label": labels}), tmp_path / "mnist-test.parquet")
    torch.manual_seed(0)
    teacher = build_classifier("lenet5", num_classes=10, input_shape=(1, 32, 32))
    (tmp_path / "teachers").mkdir()
    torch.save(teacher.state_dict(), tmp_path / "teachers" / "mnist-lenet5.pt")
    return tmp_path


def test_from_files_to_the_last_line(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mnist, "RESULTS", tmp_path / "results")
    mnist.main(["--seconds", "0.5", "--data", str(data), "--device", "cpu"])
    out = capsys.readouterr().out.splitlines()
    assert out[-1].startswith("MNIST accuracy=")
    assert out[-1].endswith(" method=best")
    line = json.loads((tmp_path / "results" / "mnist.jsonl").read_text())
    wanted = {"dataset", "pair", "method", "device", "teacher_accuracy", "student_accuracy", "seconds"}
    assert wanted <= line.keys()
    assert line["dataset"] == "mnist-test"
    assert line["image_source"] == "collages"
    assert line["missing_terms"] == []
    assert line["neighbour"] == (line["others_processors"] > LOAD_LIMIT)
    assert (
        line["updates_a_round"] == METHODS["best"].recipe_for(teacher_has_bn=False, channels=1).student_steps
    )
    first, last = line["checkpoints"][0], line["curve"][-1]
    assert (first["step"], first["queries"], first["pflop"]) == (0, 0, 0)
    assert last["step"] == line["steps"]
    assert last["queries"] > 0
    assert last["pflop"] > 0
    assert line["curve"][-1]["accuracy"] == pytest.approx(line["student_accuracy"], abs=1e-4)


def test_missing_data_is_said(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="DFAD_DATA_DIR"):
        mnist.main(["--data", str(tmp_path / "nowhere")])


def test_time_is_kept_for_the_evaluation() -> None:
    for seconds in (2, 120, 600):
        budget = mnist.config_for(seconds, 0, "auto", "cpu").budget
        assert budget.train_seconds is not None
        assert 0 < budget.train_seconds < seconds


def test_snapshots_are_copies_in_order() -> None:
    student = build_classifier("mlp8", num_classes=10, input_shape=(1, 8, 8))
    snapshots = Snapshots(student, seconds=0.0, points=4)
    snapshots.phase("warming_up")
    first = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    assert snapshots.should_stop() is None
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.zero_()
    snapshots.should_stop()
    assert len(snapshots.tenths) == 1  # all were due at once
    assert snapshots.checkpoints == []
    copy = same_network(
        build_classifier("mlp8", num_classes=10, input_shape=(1, 8, 8)), snapshots.tenths[0].weights
    )
    assert all(torch.equal(tensor, first[name]) for name, tensor in copy.state_dict().items())
    assert not copy.training


def test_checkpoints_are_at_doubling_amounts_of_work() -> None:
    student = build_classifier("mlp8", num_classes=10, input_shape=(1, 8, 8))
    snapshots = Snapshots(student, seconds=1000.0, updates_a_round=50)
    snapshots.phase("warming_up")
    for step in range(1, 23):
        if step == 1:  # reports are seldom: later rounds have as many queries each
            snapshots.progress(Progress(1, 100, 0.0, None, {"teacher_queries": 100.0}))
        snapshots.should_stop()
    by_updates = [3, 5, 10, 20]
    by_queries = [20]
    assert [shot.step for shot in snapshots.checkpoints] == [0, *sorted({*by_updates, *by_queries})]
    assert [shot.queries for shot in snapshots.checkpoints] == [0, 300, 500, 1000, 2000]
    assert snapshots.tenths == []


@pytest.mark.parametrize(("others", "neighbour"), [(0.05, False), (0.9, True)])
def test_a_line_says_that_it_was_measured_with_a_neighbour(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    others: float,
    neighbour: bool,
) -> None:
    monkeypatch.setattr(mnist, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(mnist.MachineLoad, "processors", lambda _self: others)
    mnist.main(["--seconds", "0.3", "--data", str(data), "--device", "cpu", "--method", "dfq"])
    line = json.loads((tmp_path / "results" / "mnist.jsonl").read_text())
    assert line["neighbour"] is neighbour
    assert line["missing_terms"] == ["BN statistics"]
    assert ("neighbour" in capsys.readouterr().out) is neighbour
