"""`dfad distill, export, bench`, over a program that only says what the engine would say."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dfad_client.cli import app
from dfad_client.local import engine_process

DISTILLED: dict[str, Any] = {
    "student": "s.safetensors",
    "report": "report.html",
    "files": ["s.safetensors", "report.html"],
    "partial": False,
    "steps": 4,
    "seconds": 2.0,
    "result": {
        "teacher": {"architecture": "cnn8", "parameters": 23590},
        "student": {"architecture": "mlp8", "parameters": 1482},
        "compression": 15.9,
        "fidelity": {},
    },
}
BENCH = {
    "teacher": {"architecture": "cnn8", "parameters": 1},
    "student": {"architecture": "mlp8", "parameters": 2},
    "method": "best",
    "batch_size": 128,
    "rounds": 10,
    "seconds": 4.0,
    "rounds_per_second": 2.5,
    "machine": {
        "device": "cpu",
        "gpu": None,
        "processor": "P",
        "processors": 2,
        "threads": 2,
        "precision": "float32",
        "system": "S",
        "versions": {"torch": "2"},
    },
}


class Program:
    """Stands for the engine: prints lines, exits with a code; what it was called with is in `arguments`."""

    def __init__(self, folder: Path) -> None:
        self._told = folder / "arguments.json"
        self.code = ""

    def says(self, *lines: tuple[str, dict[str, Any]], exit_code: int = 0, wait: bool = False) -> None:
        text = "".join(
            json.dumps({"seq": n, "type": kind, "data": data}) + "\n" for n, (kind, data) in enumerate(lines)
        )
        signalled = "import signal; signal.sigwait([signal.SIGINT]);" if wait else ""
        self.code = (
            "import json, os, sys, signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT]);"
            f"open({str(self._told)!r}, 'w').write(json.dumps(sys.argv[1:]));"
            f"first, _, rest = {text!r}.partition(chr(10));"
            f"print(first, flush=True); {signalled} print(rest, end='', flush=True); sys.exit({exit_code})"
        )

    def command(self, _module: str, *arguments: str) -> list[str]:
        return [sys.executable, "-c", self.code, *arguments]

    @property
    def arguments(self) -> list[str]:
        return list(json.loads(self._told.read_text()))


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    program = Program(tmp_path)
    monkeypatch.setattr(engine_process, "module_command", program.command)
    return program


def test_options_reach_the_engine(run: Any, program: Program) -> None:
    program.says(("phase", {"phase": "distilling"}), ("result", DISTILLED))
    options = (
        "--student mlp8 --student-arg width=9 --steps 4 --seed 3 --export onnx --export int8 -o s.safetensors"
    )
    done = run("distill", "t.pt", *options.split())
    assert done.exit_code == 0
    assert program.arguments == [
        "distill",
        "--student=mlp8",
        '--student-args={"width": 9}',
        "--steps=4",
        "--seed=3",
        "--device=auto",
        "--output=s.safetensors",
        "--export=onnx",
        "--export=int8",
        "--",
        "t.pt",
    ]
    assert "done: 4 steps in 2 s" in done.stdout
    assert "15.9 times fewer" in done.stdout
    assert "report.html" in done.stdout
    assert "distilling" in done.stderr
    assert run("distill", "t.pt", "--max-bytes", "9", "-q").stdout == "s.safetensors\n"
    assert '--target={"max_bytes": 9}' in program.arguments


def test_files_that_describe_a_student_and_a_folder_of_checkpoints_reach_the_engine(
    run: Any, program: Program
) -> None:
    program.says(
        ("note", {"code": "resumed", "message": "training goes on from step 2"}), ("result", DISTILLED)
    )
    shape = '{"shape": [1, 8, 8]}'
    done = run(
        "distill", "t.pt", "--layers", "l.json", "--resume", "f", "--num-classes", "7", "--input", shape
    )
    assert done.exit_code == 0
    assert "note: training goes on from step 2" in done.stderr
    for flag in ("--layers=l.json", "--resume=f", "--num-classes=7", f"--input={shape}"):
        assert flag in program.arguments
    assert run("distill", "t.pt", "--transformers", "c.json").exit_code == 0
    assert "--transformers=c.json" in program.arguments


def test_lines_for_programs(run: Any, program: Program) -> None:
    program.says(("progress", {"step": 1, "percent": 25.0}), ("result", DISTILLED))
    done = run("distill", "t.pt", "--student", "mlp8", "--json")
    progress, result = map(json.loads, done.stdout.splitlines())
    assert (progress["type"], result) == ("progress", DISTILLED)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("absent.pt --student mlp8", "no file"),
        ("t.pt", "name the student"),
        ("t.pt --student mlp8 --max-bytes 9", "name the student"),
        ("t.pt --layers l.json --transformers c.json", "name the student"),
        ("t.pt --student mlp8 --student-arg width", "NAME=INTEGER"),
    ],
)
def test_wrong_usage_starts_nothing(run: Any, program: Program, arguments: str, said: str) -> None:
    done = run("distill", *arguments.split())
    assert done.exit_code == 2
    assert said in done.stderr


@pytest.mark.parametrize("code", [1, 2])
def test_what_the_engine_refuses(run: Any, program: Program, code: int) -> None:
    about = {"code": "unknown_architecture", "message": "unknown architecture 'x'", "param": "architecture"}
    program.says(("phase", {"phase": "loading"}), ("error", about), exit_code=code)
    done = run("distill", "t.pt", "--student", "x", "--json")
    assert done.exit_code == code
    error = json.loads(done.stdout.splitlines()[-1])["error"]
    assert (error["code"], error["param"]) == ("unknown_architecture", "architecture")
    assert "(architecture)" in done.stderr


def test_a_loss_that_diverged_leaves_what_was_before(run: Any, program: Program) -> None:
    about = {"code": "diverged", "message": "The loss is NaN.", "param": None}
    program.says(("phase", {}), ("result", {**DISTILLED, "partial": True}), ("error", about), exit_code=1)
    done = run("distill", "t.pt", "--student", "mlp8")
    assert done.exit_code == 1
    assert "diverged" in done.stderr
    assert "s.safetensors" in done.stderr


def test_an_engine_that_dies_is_told(run: Any, program: Program) -> None:
    program.says(("phase", {"phase": "loading"}), exit_code=77)
    done = run("distill", "t.pt", "--student", "mlp8", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout.splitlines()[-1])["error"]["code"] == "engine_died"


def test_ctrl_c_is_passed_on_and_waited_for(
    run: Any, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.says(
        ("progress", {"step": 1}), ("result", {**DISTILLED, "partial": True}), exit_code=130, wait=True
    )
    show = engine_process.Event.of
    asked: list[int] = []

    def interrupt_at_the_first(raw: Any) -> Any:
        if not asked:
            asked.append(1)
            os.kill(os.getpid(), signal.SIGINT)
        return show(raw)

    monkeypatch.setattr(engine_process.Event, "of", interrupt_at_the_first)
    before = signal.getsignal(signal.SIGINT)
    done = run("distill", "t.pt", "--student", "mlp8")
    assert done.exit_code == 130
    assert "the student is partial" in done.stdout
    assert "Ctrl-C again" in done.stderr
    assert signal.getsignal(signal.SIGINT) == before


@pytest.mark.parametrize(
    ("difference", "said"), [(1e-6, "largest difference of a result 1e-06"), (None, "not compared")]
)
def test_pack(run: Any, program: Program, difference: float | None, said: str) -> None:
    about = {"path": "t.onnx", "bytes": 2000, "parameters": 10, "bn_layers": 1, "num_classes": 5}
    program.says(("result", {**about, "max_difference": difference, "notes": ["A note."]}))
    done = run("pack", "model.py:build", "--input", "3x16x16", "-o", "t.onnx")
    assert done.exit_code == 0
    assert f"1 batch-norm layers, 5 classes; {said}\nA note.\n" in done.stdout
    assert program.arguments == [
        "pack",
        '--input={"shape": [3, 16, 16]}',
        "--output=t.onnx",
        "--",
        "model.py:build",
    ]


def test_export(run: Any, program: Program) -> None:
    about = {"path": "t.int8.onnx", "format": "int8", "bytes": 2000, "max_difference": 0.01}
    program.says(("result", {**about, "agreement_with_student": 0.99, "images": 128}))
    done = run("export", "t.pt", "--to", "int8")
    assert done.exit_code == 0
    assert "same class as the student on 99.0% of 128 images" in done.stdout
    assert program.arguments == ["export", "--to=int8", "--", "t.pt"]
    assert run("export", "t.pt", "--to", "onnx", "-o", "s.onnx", "-q").stdout == "t.int8.onnx\n"
    assert program.arguments == ["export", "--to=onnx", "--output=s.onnx", "--", "t.pt"]
    assert run("export", "absent", "--to", "onnx").exit_code == 2


def test_the_engine_knows_the_formats(run: Any, program: Program) -> None:
    about = {"code": "invalid_config", "message": "unknown format 'tflite' (known: onnx)", "param": "to"}
    program.says(("error", about), exit_code=2)
    done = run("export", "t.pt", "--to", "tflite")
    assert done.exit_code == 2
    assert "known: onnx" in done.stderr


def test_bench(run: Any, program: Program) -> None:
    program.says(("progress", {"step": 1, "percent": 9.0}), ("result", BENCH))
    done = run("bench", "cnn8:mlp8", "--seconds", "3")
    assert "2.5 rounds a second" in done.stdout
    assert "torch 2" in done.stdout
    assert program.arguments[-2:] == ["--", "cnn8:mlp8"]
    assert run("bench", "-q").stdout == "2.5\n"
    assert json.loads(run("bench", "--json").stdout.splitlines()[-1])["rounds"] == 10


@pytest.mark.parametrize("command", ["distill t.pt --student mlp8", "export t.pt --to onnx", "bench"])
def test_without_an_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any, command: str) -> None:
    monkeypatch.setattr(engine_process.importlib.util, "find_spec", lambda name: None)
    done = CliRunner().invoke(app, [*command.split(), "--json"])
    assert done.exit_code == 5
    assert "dfad submit" in done.stderr
    assert json.loads(done.stdout)["error"]["code"] == "engine_missing"
