"""The pass over a GPU, tried on a processor: whole, killed in the middle, and with what can go wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks import gpu_pass, table
from benchmarks.engine import gpu_pass_students, gpu_tables, teacher_training
from benchmarks.engine.data import DataMissing
from benchmarks.engine.gpu_pass_journal import Journal, Part, Stage
from benchmarks.engine.gpu_pass_parts import FULL, TINY
from benchmarks.engine.gpu_pass_students import Images, Pass
from dfad_core.contract.methods import METHODS

CPU = torch.device("cpu")
PARTS = 2 * len(METHODS) + 2 + 2 + 6
CLOSING = f"GPU_PASS parts={PARTS} failed=0"
#: The pass where nothing but torch and NumPy, and what reads images, is installed.
ALONE = """
import runpy, sys

for name in "pydantic fastapi sqlalchemy celery onnx transformers sklearn matplotlib".split():
    sys.modules[name] = None
runpy.run_module("benchmarks.gpu_pass", run_name="__main__", alter_sys=True)
"""


def _lines(folder: Path) -> list[dict[str, Any]]:
    file = folder / gpu_pass.FILE
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def _results(folder: Path) -> list[dict[str, Any]]:
    return [line for line in _lines(folder) if "tenth" not in line]


def _start(folder: Path) -> subprocess.Popen[str]:
    options = ["--device", "cpu", "--tiny", "--seconds", "3000", "--folder", str(folder), "--revision", "abc"]
    return subprocess.Popen(
        [sys.executable, "-c", ALONE, *options],
        cwd=table.README.parents[1],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A pass that was killed after its first lines, left a torn one, and was called again."""
    folder = tmp_path_factory.mktemp("pass")
    first = _start(folder)
    while len(_results(folder)) < 2 and first.poll() is None:
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    before = _results(folder)
    with (folder / gpu_pass.FILE).open("a") as file:
        file.write('{"benchmark": "gpu_pass", "scale": "tiny", "par')
    second = _start(folder)
    printed, _ = second.communicate()
    return SimpleNamespace(folder=folder, before=before, printed=printed, status=second.returncode)


def test_a_killed_pass_goes_on_to_its_end(finished: SimpleNamespace) -> None:
    assert finished.status == 0
    assert finished.printed.splitlines()[-1] == CLOSING
    assert 2 <= len(finished.before) < PARTS
    lines = _results(finished.folder)
    assert lines[: len(finished.before)] == finished.before
    assert len({line["part"] for line in lines}) == len(lines) == PARTS
    assert not any("failed" in line or "skipped" in line for line in lines)


def test_each_line_says_what_is_needed_to_judge_it(finished: SimpleNamespace) -> None:
    for line in _lines(finished.folder):
        assert {"time", "versions", "machine", "device", "git_revision", "part", "seconds"} <= line.keys()
        assert line["git_revision"] == "abc"
    by_part = {line["part"]: line for line in _results(finished.folder)}
    assert all(by_part[f"presets/{name}{graphs}"] for name in METHODS for graphs in ("", "/graphs"))
    speed = by_part["speed/8"]
    assert speed["engine_with_graphs_tflops"] > 0
    assert speed["matrix_product_tflops"] > 0
    assert "student step" in speed["profile"]
    student = by_part["students/cnn8:mlp8/dfad_ar_vi"]
    assert student["teacher_accuracy"] == by_part["teachers/cnn8"]["accuracy_float16"]
    assert student["gap"] == pytest.approx(
        student["teacher_accuracy"] - student["student_accuracy"], abs=1e-3
    )
    assert student["presentations_per_second"] * student["training_seconds"] == pytest.approx(
        student["steps"] * 20 * 8, rel=0.05
    )
    assert student["curve"][-1]["accuracy"] == student["student_accuracy"]
    told = [line for line in _lines(finished.folder) if line["part"] == student["part"] and "tenth" in line]
    assert [line["accuracy"] for line in told] == [point["accuracy"] for point in student["curve"][:-1]]


def test_what_is_there_is_not_run_again(
    finished: SimpleNamespace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (finished.folder / gpu_pass.FILE).read_bytes()
    with pytest.raises(SystemExit) as left:
        gpu_pass.main(["--device", "cpu", "--tiny", "--folder", str(finished.folder)])
    assert left.value.code == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == CLOSING
    assert f"0 of {2 * len(METHODS)} parts to run" in printed[1]  # with and without batch norm
    assert (finished.folder / gpu_pass.FILE).read_bytes() == before


def test_a_teacher_whose_files_are_there_is_not_trained_again(
    finished: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pass"
    shutil.copytree(finished.folder, folder)
    lines = [line for line in _lines(folder) if line["part"] != "teachers/cnn8"]
    (folder / gpu_pass.FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))

    def trained(*arguments: Any) -> None:
        raise AssertionError("it was trained again")

    monkeypatch.setattr(teacher_training, "train", trained)
    with pytest.raises(SystemExit) as left:
        gpu_pass.main(["--device", "cpu", "--tiny", "--folder", str(folder)])
    assert left.value.code == 0
    old, new = (
        next(line for line in _lines(where) if line["part"] == "teachers/cnn8")
        for where in (finished.folder, folder)
    )
    for name in ("accuracy", "accuracy_float16", "epochs", "training_seconds", "files"):
        assert new[name] == old[name]
    # Without its files it is missing, whatever the line says.
    next(folder.glob("cnn8.*")).unlink()
    with pytest.raises(SystemExit) as failed:
        gpu_pass.main(["--device", "cpu", "--tiny", "--folder", str(folder)])
    assert failed.value.code == 1
    assert _lines(folder)[-1]["message"] == "it was trained again"


def test_time_that_is_over_leaves_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        gpu_pass.main(["--device", "cpu", "--tiny", "--seconds", "0", "--folder", str(tmp_path)])
    assert left.value.code == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"GPU_PASS parts=0 failed=0 left={PARTS}"


def test_no_gpu_is_said_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="no CUDA device"):
        gpu_pass.main(["--folder", str(tmp_path)])


def test_lines_come_home_as_tables(finished: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [{**line, "scale": "full"} for line in _lines(finished.folder)]
    assert gpu_tables.newest(_lines(finished.folder)) == []  # a trial is no result
    failed = {**lines[0], "part": "presets/dafl/graphs", "failed": "RuntimeError", "message": "no"}
    lines.append(failed)
    read = table.read
    monkeypatch.setattr(table, "read", lambda path: lines if path.name == gpu_pass.FILE else read(path))
    report = table.report()
    titles = (
        "Methods on a GPU",
        "Time of a training step on a GPU",
        "Teachers trained",
        "Training of students",
    )
    assert all(f"### {title}" in report for title in titles)
    (dafl,) = [row for row in report.splitlines() if row.startswith("| dafl |") and "failed" in row]
    assert "failed: RuntimeError" in dafl
    assert "### synthetic-test-96, cnn8:mlp8," in report
    # The pass may have had a neighbour, which marks its rows.
    assert len(re.findall(r"^\| best( ‡)? \| generator \| 1 \|", report, re.MULTILINE)) >= 2


def _stage(*parts: Part, share: float | None = None) -> list[Stage]:
    return [Stage("stage", share, "for a test", parts)]


def _fails(error: BaseException) -> Callable[[float], dict[str, Any]]:
    def play(until: float) -> dict[str, Any]:
        raise error

    return play


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """An empty one."""
    return Journal(tmp_path / gpu_pass.FILE, CPU, "tiny", "abc")


def _states(stages: Sequence[Stage], journal: Journal) -> dict[str, str]:
    return {part.name: journal.state(part) for stage in stages for part in stage.parts}


def test_a_failure_becomes_a_line_and_ends_nothing(
    journal: Journal, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = _stage(
        Part("a", _fails(ValueError("no good"))),
        Part("b", _fails(torch.cuda.OutOfMemoryError("all of it"))),
        Part("c", _fails(DataMissing("no images"))),
        Part("d", lambda until: {"figure": 1}),
        Part("e", lambda until: {"figure": 2}, needs="a"),
    )
    assert gpu_pass.run_parts(stages, journal, 60, {})
    found = {"a": "failed", "b": "failed", "c": "skipped", "d": "result", "e": "skipped"}
    assert _states(stages, journal) == found
    assert journal.line("a")["failed"] == "ValueError"
    assert journal.line("a")["message"] == "no good"
    assert journal.line("b")["failed"] == "OutOfMemoryError"
    assert journal.line("c")["skipped"] == "no images"
    assert journal.line("e")["skipped"] == "a failed: ValueError"
    again = Journal(journal.path, CPU, "tiny", None)
    assert _states(stages, again) == found
    with pytest.raises(SystemExit) as left:
        gpu_pass._close(stages, again)
    assert left.value.code == 1
    assert capsys.readouterr().out.splitlines()[-1] == "GPU_PASS parts=1 failed=2 skipped=2"


def test_an_interruption_ends_the_pass(journal: Journal) -> None:
    stages = _stage(Part("a", _fails(KeyboardInterrupt())), Part("b", lambda until: {}))
    with pytest.raises(KeyboardInterrupt):
        gpu_pass.run_parts(stages, journal, 60, {})
    assert _states(stages, journal) == {"a": "left", "b": "left"}


def test_what_needs_a_part_that_was_not_reached_is_left(journal: Journal) -> None:
    stages = [
        Stage("long", None, "for a test", [Part("a", lambda until: {})]),
        *_stage(Part("b", lambda until: {}, needs="a"), Part("c", lambda until: {})),
    ]
    assert gpu_pass.run_parts(stages, journal, 60, {"long": 100})
    assert _states(stages, journal) == {"a": "left", "b": "left", "c": "result"}


def test_what_found_no_time_in_its_share_comes_last(journal: Journal) -> None:
    order: list[str] = []

    def part(name: str, needs: str | None = None) -> Part:
        return Part(name, lambda until: order.append(name) or {}, needs=needs)  # type: ignore[func-returns-value]

    stages = [*_stage(part("a"), share=0.0), *_stage(part("b", needs="a"), part("c"))]
    assert gpu_pass.run_parts(stages, journal, 60, {})
    assert order == ["c", "a", "b"]


def test_time_is_shared_evenly_and_not_spread_too_thin(journal: Journal) -> None:
    given: list[float] = []

    def play(until: float) -> dict[str, Any]:
        given.append(until - time.monotonic())
        return {}

    stages = _stage(*(Part(name, play) for name in "abcd"))
    gpu_pass.run_parts(stages, journal, 1000, {"stage": 300})
    assert given == pytest.approx([300, 1000 / 3, 500, 1000], rel=0.05)
    other = _stage(*(Part(name, play) for name in "efgh"))
    gpu_pass.run_parts(other, journal, 200, {"stage": 300})
    assert set(_states(other, journal).values()) == {"left"}


def test_a_gpu_that_has_gone_bad_is_left_to_a_new_process(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.engine.gpu_pass_parts.usable", lambda device: False)
    stages = _stage(Part("a", _fails(RuntimeError("illegal access"))), Part("b", lambda until: {}))
    assert not gpu_pass.run_parts(stages, journal, 60, {})
    assert _states(stages, journal) == {"a": "failed", "b": "left"}
    called: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, command: called.append(command))
    gpu_pass._go_on(["--tiny"], 123.5)
    assert called == [[sys.executable, "-m", "benchmarks.gpu_pass", "--tiny", "--until", "123.5"]]


def test_missing_data_skip_teachers_and_students(journal: Journal, tmp_path: Path) -> None:
    run = Pass(FULL, CPU, tmp_path, Images(FULL, CPU, str(tmp_path / "nowhere")))
    stages = gpu_pass.stages(run, journal)[2:]
    assert gpu_pass.run_parts(stages, journal, 600, {})
    assert set(_states(stages, journal).values()) == {"skipped"}
    assert "DFAD_DATA_DIR" in journal.line("students/resnet34:resnet18/best")["skipped"]


def test_a_part_of_the_test_images_is_enough(coloured: Callable[..., Path], tmp_path: Path) -> None:
    coloured("cifar10-test.parquet", 12)
    images = Images(FULL, CPU, str(tmp_path))
    assert images.name == "cifar10-test-12"
    with pytest.raises(DataMissing, match="cifar10-train"):
        _ = images.train


def test_what_fails_with_cuda_graphs_is_run_without_them(
    finished: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    distill = gpu_pass_students.distill

    def recording(teacher: Any, student: Any, config: Any, hooks: Any) -> Any:
        if config.training.cuda_graphs:
            raise RuntimeError("operation not permitted when stream is capturing")
        return distill(teacher, student, config, hooks)

    monkeypatch.setattr(gpu_pass_students, "distill", recording)
    figures = gpu_pass_students.student(
        Pass(TINY, CPU, finished.folder, Images(TINY, CPU, None)),
        ("cnn8", "mlp8"),
        "dfad",
        time.monotonic() + 60,
        graphs=True,
        teacher_accuracy=0.5,
        report=lambda figures: None,
    )
    assert not figures["graphs"]
    assert "stream is capturing" in figures["graphs_failed"]
    assert figures["steps"] > 0
