"""`distill --resume FOLDER`: an interrupted run ends with the student of the undisturbed one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dfad_core import load_student
from dfad_core.training import checkpoint

ROOT = Path(__file__).resolve().parents[3]
STEPS = 300


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Results of one number of threads are not those of another to the bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _arguments(teacher: Path, *more: str, steps: int = 2) -> list[str]:
    fixed = ["distill", str(teacher), "--student=mlp8", f"--steps={steps}", "--device=cpu", "--resume=folder"]
    return [*fixed, *more]


def _codes(lines: list[dict[str, Any]]) -> list[str]:
    return [line["data"]["code"] for line in lines if line["type"] in ("note", "warning")]


def _student(folder: Path) -> tuple[Any, dict[str, bytes]]:
    """Metadata and tensors to the bit; safetensors writes the entries of the header in any order."""
    module = load_student(folder / "student.safetensors")
    return module.dfad_metadata, {name: t.numpy().tobytes() for name, t in module.state_dict().items()}


def _interrupted(arguments: list[str], folder: Path, number: signal.Signals, at: str) -> list[dict[str, Any]]:
    """Run the program until a line has `at` in it, then send it a signal; its lines, without those before."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "dfad_core.cli", *arguments, "--checkpoint-seconds=0.01"],
        cwd=folder, env=environment, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        lines: list[dict[str, Any]] = []
        for line in process.stdout:
            lines.append(json.loads(line))
            if at in line:
                while number == signal.SIGKILL and not list((folder / "folder").glob("step-*.dfad")):
                    assert process.poll() is None
                process.send_signal(number)
                at = "\n no line has this"
        assert process.wait(60) == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    return lines


def test_killed_and_interrupted_the_student_is_the_same_to_the_bit(
    run: Any, tiny_teacher: Path, tmp_path: Path
) -> None:
    plain = [one for one in _arguments(tiny_teacher, steps=STEPS) if "--resume" not in one]
    assert run(*plain, "--output=undisturbed/student.safetensors")[0] == 0
    arguments = _arguments(tiny_teacher, steps=STEPS)
    _interrupted(arguments, tmp_path, signal.SIGKILL, "distilling")
    assert not (tmp_path / "student.safetensors").exists()
    lines = _interrupted(arguments, tmp_path, signal.SIGINT, '"resumed"')
    cut = lines[-1]["data"]
    assert (cut["partial"], cut["result"]) == (True, None)
    assert 0 < cut["resumed_from"] <= cut["steps"] < STEPS
    assert f"interrupted at step {cut['steps']}" in lines[-2]["data"]["message"]
    code, lines = run(*arguments)
    final = lines[-1]["data"]
    assert (code, final["partial"], final["resumed_from"]) == (0, False, cut["steps"])
    assert f"training goes on from step {cut['steps']}" in [
        line["data"].get("message") for line in lines if line["type"] == "note"
    ]
    assert _student(tmp_path) == _student(tmp_path / "undisturbed")


def test_a_finished_run_is_measured_again_and_not_trained(
    run: Any, tiny_teacher: Path, tmp_path: Path
) -> None:
    assert run(*_arguments(tiny_teacher))[0] == 0
    student = _student(tmp_path)
    code, lines = run(*_arguments(tiny_teacher))
    data = lines[-1]["data"]
    assert (code, data["resumed_from"], data["steps"]) == (0, 2, 2)
    assert data["result"]["fidelity"]
    assert _student(tmp_path) == student


def test_another_jobs_folder_is_refused_and_left_as_it_is(
    run: Any, tiny_teacher: Path, tmp_path: Path
) -> None:
    assert run(*_arguments(tiny_teacher))[0] == 0
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    code, lines = run(*_arguments(tiny_teacher, "--seed=1"))
    error = lines[-1]["data"]
    assert (code, error["code"], error["param"]) == (2, "foreign_checkpoint", "resume")
    assert "or another folder" in error["message"]
    assert {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()} == before


def test_damaged_checkpoints_are_reported_and_training_starts_anew(
    run: Any, tiny_teacher: Path, tmp_path: Path
) -> None:
    assert run(*_arguments(tiny_teacher))[0] == 0
    student = _student(tmp_path)
    for path in (tmp_path / "folder").iterdir():
        path.write_bytes(path.read_bytes()[:-9])
    code, lines = run(*_arguments(tiny_teacher))
    assert (code, lines[-1]["data"]["resumed_from"]) == (0, None)
    assert _codes(lines)[0] == "checkpoint_unusable"
    assert "resumed" not in _codes(lines)
    assert "step-000000000002.damaged" in {path.name for path in (tmp_path / "folder").iterdir()}
    assert _student(tmp_path) == student


def test_a_sound_checkpoint_without_a_state_leads_to_a_fresh_start_and_is_replaced(
    run: Any, tiny_teacher: Path, tmp_path: Path
) -> None:
    assert run(*_arguments(tiny_teacher))[0] == 0
    student = _student(tmp_path)
    (path,) = (tmp_path / "folder").iterdir()
    job = path.read_bytes()[8:40]
    path.rename(path.with_name("step-000000000099.dfad")).write_bytes(checkpoint.pack([], job))  # type: ignore[arg-type]
    code, lines = run(*_arguments(tiny_teacher))
    assert (code, lines[-1]["data"]["resumed_from"]) == (0, None)
    assert "checkpoint_unusable" in _codes(lines)
    assert "resumed" not in _codes(lines)
    assert _student(tmp_path) == student
    assert run(*_arguments(tiny_teacher))[1][-1]["data"]["resumed_from"] == 2


def test_a_disk_that_takes_no_checkpoint_costs_no_student(
    run: Any, tiny_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dfad_core.training.checkpoint_folder import CheckpointFolder

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(CheckpointFolder, "save", full)
    code, lines = run(*_arguments(tiny_teacher))
    assert code == 0
    assert "checkpoint_failed" in _codes(lines)
    assert (tmp_path / "student.safetensors").exists()
