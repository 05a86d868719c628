"""Names of classes: found wherever people keep them, and written into each of the student's files."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dfad_core.contract.config import InputConfig
from dfad_core.evaluation.inspection import inspect_teacher
from dfad_core.formats import load_teacher
from dfad_core.formats.class_names import MAX_NAME, found_in, found_in_strings
from dfad_core.formats.converted import read_converted, write_converted
from dfad_core.formats.export import export
from dfad_core.formats.metadata import StudentMetadata
from dfad_core.formats.safetensors import student_bytes
from dfad_core.networks import build_classifier

NAMES = ("cat", "dog", "frog")
BY_NUMBER = {str(number): name for number, name in enumerate(NAMES)}
SHAPE = (1, 8, 8)
INPUT = InputConfig(SHAPE)
TINY = {"model_type": "resnet", "embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]}


def network() -> nn.Module:
    torch.manual_seed(0)
    return build_classifier("mlp8", num_classes=3, input_shape=SHAPE, args={"width": 2}).eval()


@pytest.mark.parametrize(
    "entries",
    [
        {"id2label": BY_NUMBER},
        {"id2label": {0: "cat", 2: "frog", 1: "dog"}},
        {"classes": list(NAMES)},
        {"class_to_idx": {"frog": 2, "cat": 0, "dog": 1}},
        {"label2id": {"frog": 2, "cat": 0, "dog": 1}},
    ],
)
def test_where_they_are_found(tmp_path: Path, entries: dict[str, Any]) -> None:
    assert found_in(entries, 3) == NAMES
    assert found_in_strings({key: json.dumps(value) for key, value in entries.items()}, 3) == NAMES
    torch.save({"model": network().state_dict(), **entries}, tmp_path / "x")
    assert load_teacher(tmp_path / "x").class_names == NAMES


@pytest.mark.parametrize(
    "entries",
    [
        {}, {"id2label": {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}}, {"id2label": {"0": "a"}},
        {"classes": ["a", "b"]}, {"classes": ["a", "b", 3]}, {"classes": "abc"}, {"id2label": None},
        {"class_to_idx": {"a": 0, "b": 0, "c": 1}}, {"names": ["x" * 400_000] * 3}, [1, 2],
    ],
)  # fmt: skip
def test_what_is_no_name_for_each_class(entries: Any) -> None:
    assert found_in(entries, 3) == ()


def test_as_exporters_print_a_dictionary() -> None:
    assert found_in_strings({"names": """{0: 'cat', 1: "dog's", 2: 'frog'}"""}, 3) == ("cat", "dog's", "frog")
    assert found_in_strings({"names": "[" * 100_000}, 3) == ()
    assert found_in_strings({"names": "1" * 1_000_000}, 3) == ()


@pytest.mark.parametrize("text", [json.dumps(BY_NUMBER), str(dict(enumerate(NAMES)))])
def test_in_the_metadata_of_an_onnx_file(tmp_path: Path, text: str) -> None:
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", kind, ["n", *SHAPE])],
        [helper.make_tensor_value_info("y", kind, ["n", 3])],
        [onnx.numpy_helper.from_array(torch.randn(64, 3).numpy(), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"names": text, "author": "x"})
    (tmp_path / "x").write_bytes(model.SerializeToString())
    teacher = load_teacher(tmp_path / "x")
    assert teacher.class_names == NAMES
    write_converted(teacher, tmp_path / "c")
    assert read_converted(tmp_path / "c").class_names == NAMES


def test_names_are_plain_text() -> None:
    assert found_in({"names": ["a\0\n\u202e\ud800b", "x" * 999, "é"]}, 3) == ("a    b", "x" * MAX_NAME, "é")


def test_through_the_converted_teacher_and_its_report(tmp_path: Path) -> None:
    save_file(network().state_dict(), tmp_path / "x", {"id2label": json.dumps(BY_NUMBER)})
    teacher = load_teacher(tmp_path / "x")
    assert inspect_teacher(teacher, offers=False).class_names == NAMES
    write_converted(teacher, tmp_path / "c")
    assert read_converted(tmp_path / "c").class_names == NAMES
    teacher.class_names = ()
    assert inspect_teacher(teacher, offers=False).class_names is None
    write_converted(teacher, tmp_path / "c")
    assert read_converted(tmp_path / "c").class_names == ()


def test_in_the_files_of_a_student(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    student = build_classifier("transformers", num_classes=3, input_shape=SHAPE, args={"config": TINY}).eval()
    metadata = StudentMetadata("transformers", {"config": TINY}, 3, INPUT, {}, NAMES)
    images = torch.randn(4, *SHAPE)
    written = export(
        ["huggingface"], student, metadata, images, images,
        failed=lambda name, why: pytest.fail(f"{name}: {why}"),
    )  # fmt: skip
    files = {one.name: one.content for one in written}
    with zipfile.ZipFile(io.BytesIO(files["huggingface"])) as archive:
        config = json.loads(archive.read("config.json"))
    assert config["id2label"] == BY_NUMBER
    assert config["label2id"] == {"cat": 0, "dog": 1, "frog": 2}
    assert json.loads(metadata.to_strings()["id2label"]) == BY_NUMBER  # as ONNX has it, too
    (tmp_path / "student").write_bytes(student_bytes(student, metadata))
    assert load_teacher(tmp_path / "student").class_names == NAMES
    (tmp_path / "folder.zip").write_bytes(files["huggingface"])
    assert load_teacher(tmp_path / "folder.zip").class_names == NAMES
