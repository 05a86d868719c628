"""The engine's program: its lines and exit codes, and what it does without the optional packages."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from dfad_core import load_student
from dfad_core.cli.lines import finite


def test_from_a_teacher_to_a_student_and_on(run: Any, tiny_teacher: Path, tmp_path: Path) -> None:
    code, lines = run(
        "distill", str(tiny_teacher), "--student=mlp8", '--student-args={"width": 8}', "--steps=2", "--seed=5"
    )
    assert code == 0
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    phases = [line["data"]["phase"] for line in lines if line["type"] == "phase"]
    assert phases == ["loading", "warming_up", "distilling", "evaluating", "exporting"]
    result = lines[-1]["data"]
    assert (result["steps"], result["partial"]) == (2, False)
    assert result["result"]["student"]["architecture"] == "mlp8"
    assert set(result["files"]) == {"student.safetensors", "report.html", "samples.png"}
    assert "mlp8" in Path(result["report"]).read_text()
    student = load_student("student.safetensors")
    assert student(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
    assert student.dfad_metadata.extra["seed"] == 5
    code, lines = run("export", "student.safetensors", "--to=pt2", "--output=out/s.pt2")
    assert code == 0
    assert lines[-1]["data"]["agreement_with_student"] == 1.0
    assert (tmp_path / "out" / "s.pt2").stat().st_size == lines[-1]["data"]["bytes"]
    code, lines = run("export", "student.safetensors", "--to=pt2")
    assert (code, lines[-1]["data"]["path"]) == (0, "student.pt2")
    assert (tmp_path / "student.pt2").stat().st_size == lines[-1]["data"]["bytes"]
    code, lines = run("export", "student.safetensors", "--to=tflite")
    assert (code, lines[-1]["data"]["code"], lines[-1]["data"]["param"]) == (2, "invalid_config", "to")


def test_the_student_is_written_before_it_is_evaluated(
    run: Any, tiny_teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dfad_core.training import evaluation as stage

    monkeypatch.setattr(stage, "measure_fidelity", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("distill", str(tiny_teacher), "--student=mlp8", "--steps=2")
    assert load_student("student.safetensors").dfad_metadata.extra == {
        "method": "best", "partial": False, "seed": 0, "steps": 2,
    }  # fmt: skip


def test_an_interrupt_in_evaluation_keeps_a_whole_student(
    run: Any, tiny_teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dfad_core.training import evaluation as stage

    measure = stage.measure_fidelity

    def interrupted(*args: Any, **options: Any) -> Any:
        run.handlers[2](2, None)
        return measure(*args, **options)

    monkeypatch.setattr(stage, "measure_fidelity", interrupted)
    code, lines = run("distill", str(tiny_teacher), "--student=mlp8", "--steps=2")
    result = lines[-1]["data"]
    assert (code, result["partial"], result["result"]) == (130, False, None)
    assert result["files"] == ["student.safetensors"]
    assert "not all of it is measured" in lines[-2]["data"]["message"]
    assert load_student("student.safetensors").dfad_metadata.extra["partial"] is False
    percents = [line["data"]["percent"] for line in lines if line["type"] == "progress"]
    assert max(percents) == 99


def test_a_derived_student_by_the_clock_under_another_name(run: Any, tiny_teacher: Path) -> None:
    target = '--target={"max_parameters": 1000}'
    code, lines = run("distill", str(tiny_teacher), target, "--seconds=0.1", "--output=out/mine.safetensors")
    assert code == 0
    data = lines[-1]["data"]
    assert data["result"]["student"]["parameters"] <= 1000
    assert set(data["files"]) == {
        f"out/mine{end}" for end in (".safetensors", ".report.html", ".samples.png")
    }
    progress = next(line["data"] for line in lines if line["type"] == "progress")
    assert progress["total_steps"] is None


def test_reports_and_exports_that_cannot_be_had_cost_no_student(
    run: Any, tiny_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_onnxscript(*_arguments: object, **_options: object) -> None:
        raise ModuleNotFoundError("No module named 'onnxscript'", name="onnxscript")

    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.setattr(torch.onnx, "export", without_onnxscript)
    code, lines = run("distill", str(tiny_teacher), "--student=mlp8", "--steps=1", "--export=onnx")
    assert code == 0
    warnings = [line["data"] for line in lines if line["type"] == "warning"]
    told = {data["code"]: data.get("message") for data in warnings}
    assert "jinja2 is missing (pip install 'dfad[report]')" in told["report_missing"]
    assert "is missing" in told["export_failed"]
    assert lines[-1]["data"]["files"] == ["student.safetensors"]
    code, lines = run("export", "student.safetensors", "--to=onnx", "--output=s.onnx")
    assert (code, lines[-1]["data"]["code"]) == (1, "export_failed")
    assert not (tmp_path / "s.onnx").exists()


def test_the_first_signal_keeps_the_student_the_second_ends_at_once(run: Any, tiny_teacher: Path) -> None:
    from dfad_core.cli.lines import Interrupt

    interrupt = Interrupt()
    (handler,) = set(run.handlers.values())
    handler(2, None)
    assert interrupt.requested
    with pytest.raises(KeyboardInterrupt):
        handler(2, None)
    with pytest.raises(KeyboardInterrupt):
        interrupt.check()


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["--student=mlp8", "--layers=layers.json"], 2, "file"),
        (["--layers=TEACHER"], 2, "invalid_config"),
        (["--transformers=TEACHER"], 2, "invalid_config"),
        (["--student=mlp8", "--resume=TEACHER"], 2, "invalid_config"),
        (["--student=mlp8", '--input={"shape": [1, 8]}'], 2, "invalid_config"),
        (["--student=mlp8", '--input={"shape": [1, 8, 8], "deviation": [1]}'], 2, "invalid_config"),
        (["--student=mlp8", "--num-classes=7"], 1, "architecture_mismatch"),
        (["--student=nope"], 2, "unknown_architecture"),
        (["--student=resnet18", "--export=tflite"], 2, "invalid_config"),
        (["--student=lenet5"], 2, "shape_mismatch"),
        (["--student=mlp8", "--method=nope"], 2, "unknown_method"),
        (["--student=mlp8", "--device=tpu"], 2, "invalid_config"),
        (["--student=mlp8", "--steps=0"], 2, "invalid_config"),
        (["--student=mlp8", "--output=s.onnx"], 2, "invalid_config"),
        (["--student=mlp8", "--init-from=absent"], 2, "file"),
        (["--student=mlp8", "--evaluate-on=TEACHER"], 2, "bad_evaluation_data"),
        ([], 2, "invalid_config"),
        (["--student=mlp8", "--output=TEACHER"], 2, "invalid_config"),
        (["--student=mlp8", "--architecture=resnet18"], 1, "architecture_mismatch"),
    ],
)
def test_what_is_refused(run: Any, tiny_teacher: Path, arguments: list[str], code: int, error: str) -> None:
    before = tiny_teacher.read_bytes()
    given = [part.replace("TEACHER", str(tiny_teacher)) for part in arguments]
    found, lines = run("distill", str(tiny_teacher), "--steps=1", *given)
    assert (found, lines[-1]["type"], lines[-1]["data"]["code"]) == (code, "error", error)
    assert tiny_teacher.read_bytes() == before


def test_a_student_of_layers(run: Any, tiny_teacher: Path, tmp_path: Path) -> None:
    layers = [{"type": "flatten"}, {"type": "linear", "features": 6}, {"type": "relu"}, {"type": "linear"}]
    (tmp_path / "layers.json").write_text(json.dumps(layers))
    code, lines = run("distill", str(tiny_teacher), "--layers=layers.json", "--steps=1")
    assert code == 0
    assert lines[-1]["data"]["result"]["student"]["architecture"] == "layers"
    student = load_student("student.safetensors")
    assert sum(p.numel() for p in student.parameters()) == 64 * 6 + 6 + 6 * 10 + 10
    (tmp_path / "layers.json").write_text(json.dumps([*layers, {"type": "linear", "features": 3}]))
    code, lines = run("distill", str(tiny_teacher), "--layers=layers.json", "--steps=1")
    assert (code, lines[-1]["data"]["param"]) == (2, "layers.4")
    (tmp_path / "layers.json").write_text("{}")
    code, lines = run("distill", str(tiny_teacher), "--layers=layers.json")
    assert (code, lines[-1]["data"]["param"]) == (2, "layers")
    assert "must hold a list" in lines[-1]["data"]["message"]


def test_a_student_of_a_transformers_config(run: Any, tiny_teacher: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    config = {
        "model_type": "resnet",
        "depths": [1],
        "hidden_sizes": [8],
        "embedding_size": 8,
        "layer_type": "basic",
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    arguments = ("--transformers=config.json", "--steps=1", "--export=huggingface")
    code, lines = run("distill", str(tiny_teacher), *arguments)
    assert code == 0
    data = lines[-1]["data"]
    assert data["result"]["student"]["architecture"] == "transformers"
    assert "student.zip" in data["files"]
    assert load_student("student.safetensors")(torch.zeros(1, 1, 8, 8)).shape == (1, 10)


def test_options_of_the_teacher_reach_the_student(run: Any, tiny_teacher: Path) -> None:
    source = '--input={"shape": [1, 8, 8], "mean": [0.5], "std": [0.25]}'
    given = ("--architecture=mlp8", "--num-classes=10", source)
    code, _ = run("distill", str(tiny_teacher), "--student=mlp8", "--steps=1", *given)
    assert code == 0
    read = load_student("student.safetensors").dfad_metadata.input
    assert (read.shape, read.mean, read.std) == ((1, 8, 8), (0.5,), (0.25,))


def test_a_file_that_is_no_teacher_or_no_student(run: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no network")
    assert run("distill", "file", "--student=mlp8")[0] == 1
    code, lines = run("export", "file", "--to=onnx", "--output=x")
    assert (code, lines[-1]["data"]["code"]) == (1, "unsupported_format")
    assert run("distill", "absent", "--student=mlp8")[0] == 2


def test_bench_counts_rounds(run: Any) -> None:
    code, lines = run("bench", "mlp8:mlp8", "--seconds=0.05", "--batch-size=8", "--method=noise")
    found = lines[-1]["data"]
    assert code == 0
    assert found["rounds"] >= 1
    assert found["rounds_per_second"] == pytest.approx(found["rounds"] / found["seconds"], rel=0.05)
    assert found["machine"]["versions"]["torch"] == torch.__version__
    for pair in ("mlp8", "mlp8:nope", "a:b:c"):
        assert run("bench", pair)[0] == 2
    code, lines = run(
        "bench", "torchvision:resnet18:timm:vit_tiny_patch16_224", "--seconds=0", "--method=noise"
    )
    assert (code, lines[-1]["data"]["param"]) == (2, "seconds"), "both names were read"


def test_names_need_no_torch(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    code, lines = run("names")
    assert code == 0
    assert "resnet18" in lines[0]["data"]["architectures"]
    assert "onnx" in lines[0]["data"]["formats"]


def test_json_has_no_nan() -> None:
    assert finite({"a": [math.nan, 1.0, (math.inf,)], "b": "c"}) == {"a": [None, 1.0, [None]], "b": "c"}
