"""ONNX teachers in the forms in which exporters leave them.

Guards: weights in a second file; several outputs; probabilities at the end, seen or not; sizes of 1; images
of other types and layouts; quantised files; a batch that is squeezed away; and that what is refused is
told what to do.
"""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from dfad_core.contract.config import InputConfig  # noqa: E402
from dfad_core.contract.errors import TeacherRejected  # noqa: E402
from dfad_core.formats import LoadedTeacher, load_teacher  # noqa: E402
from dfad_core.formats.converted import read_converted, write_converted  # noqa: E402

SHAPE, CLASSES = (3, 8, 8), 4
RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(6, 3, 3, 3)).astype("f4")
HEAD = RNG.normal(size=(CLASSES, 6)).astype("f4")


def node(op: str, given: str, made: str, **attributes: Any) -> Any:
    return helper.make_node(op, given.split(), made.split(), **attributes)


def trunk(images: str = "x") -> list[Any]:
    """From images to `pooled` (B, 6, 1, 1) and `logits_` (B, CLASSES)."""
    return [
        node("Conv", f"{images} k", "c"),
        node("Relu", "c", "r"),
        node("GlobalAveragePool", "r", "pooled"),
        node("Flatten", "pooled", "features"),
        node("Gemm", "features h", "z", transB=1),
    ]


def model(
    *behind: Any,
    outputs: dict[str, tuple[int, tuple[Any, ...] | None]] | None = None,
    before: tuple[Any, ...] = (),
    image: tuple[int, tuple[Any, ...]] = (TensorProto.FLOAT, ("n", *SHAPE)),
    tensors: dict[str, Any] | None = None,
    opset: int = 18,
    images: str = "x",
    domains: tuple[str, ...] = (),
) -> Any:
    """A small classifier, with nodes before and behind it; its output is `y`, or those that are named."""
    told = outputs or {"y": (TensorProto.FLOAT, None)}
    held = {"k": KERNEL, "h": HEAD, **(tensors or {})}
    graph = helper.make_graph(
        [*before, *trunk(images), *(behind or (node("Identity", "z", "y"),))],
        "g",
        [helper.make_tensor_value_info("x", *image)],
        [helper.make_tensor_value_info(name, kind, dims) for name, (kind, dims) in told.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(name, 1) for name in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=9)


def read(folder: Path, made: Any, **hints: Any) -> LoadedTeacher:
    """The teacher, which is the same after its conversion."""
    (folder / "t").write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
    teacher = load_teacher(folder / "t", **hints)
    write_converted(teacher, folder / "c")
    x_BCHW = torch.randn(3, *teacher.input.shape)
    with torch.no_grad():
        assert torch.equal(read_converted(folder / "c").module(x_BCHW), teacher.module(x_BCHW))
    return teacher


def refused(folder: Path, made: Any, **hints: Any) -> TeacherRejected:
    with pytest.raises(TeacherRejected) as caught:
        read(folder, made, **hints)
    return caught.value


def logits(x_BCHW: Tensor) -> Tensor:
    features = torch.conv2d(x_BCHW, torch.from_numpy(KERNEL)).relu().mean((2, 3))
    return features @ torch.from_numpy(HEAD).t()


def same_answers(teacher: LoadedTeacher, wanted: Callable[[Tensor], Tensor] = logits) -> None:
    x_BCHW = torch.randn(5, *SHAPE, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        found = teacher.module(x_BCHW)
    torch.testing.assert_close(found.softmax(1), wanted(x_BCHW).softmax(1), rtol=1e-3, atol=1e-4)


# Weights in a second file.


def outside(location: str = "t.onnx.data") -> tuple[Any, bytes]:
    """A model without its weights, and the file with them."""
    made, body = model(), b""
    for tensor in made.graph.initializer:
        tensor.data_location = TensorProto.EXTERNAL
        entries = {"location": location, "offset": len(body), "length": len(tensor.raw_data)}
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=str(value))
        body += tensor.raw_data
        tensor.ClearField("raw_data")
    return made, body


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize("folder", ["", "export/", "a/onnx/"])
@pytest.mark.parametrize("pack", [zipped, tarred, lambda files: zipped(files, zipfile.ZIP_DEFLATED)])
def test_an_archive_of_both(tmp_path: Path, folder: str, pack: Callable[[dict[str, bytes]], bytes]) -> None:
    made, body = outside("t.onnx_data")
    files = {f"{folder}model.onnx": made.SerializeToString(), f"{folder}t.onnx_data": body}
    extra = {f"{folder}config.json": b"{}"} if folder else {}
    teacher = read(tmp_path, pack({**files, **extra}))
    same_answers(teacher)
    assert (teacher.file_format, teacher.notes) == ("onnx", [])


def test_an_archive_of_one_model_of_several(tmp_path: Path) -> None:
    made = model().SerializeToString()
    same_answers(
        read(tmp_path, zipped({"model.onnx": made, "model_quantized.onnx": b"", "._model.onnx": b""}))
    )
    error = refused(tmp_path, zipped({"a.onnx": made, "b.onnx": made}))
    assert (error.code, "a.onnx, b.onnx" in error.message) == ("several_models", True)


@pytest.mark.parametrize("ending", [".data", "_data"])
def test_both_files_in_a_folder(tmp_path: Path, ending: str) -> None:
    made, body = outside(f"t.onnx{ending}")
    (tmp_path / "t.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(TeacherRejected, match=f"t.onnx{ending}, which is not there. Send both") as caught:
        load_teacher(tmp_path / "t.onnx")
    assert caught.value.code == "external_data"
    (tmp_path / f"t.onnx{ending}").write_bytes(body)
    same_answers(load_teacher(tmp_path / "t.onnx"))


def test_no_other_file_is_opened(tmp_path: Path) -> None:
    """Only one that is named after the model, and no link; from an archive only what is in it."""
    (tmp_path / "secret").write_bytes(outside()[1])
    (tmp_path / "t.onnx.data").symlink_to(tmp_path / "secret")
    for location in ("t.onnx.data", "secret", "../secret", str(tmp_path / "secret"), "", "x/../secret"):
        made = outside(location)[0].SerializeToString()
        (tmp_path / "t.onnx").write_bytes(made)
        with pytest.raises(TeacherRejected) as caught:
            load_teacher(tmp_path / "t.onnx")
        assert caught.value.code == "external_data", location
        for pack in (zipped, tarred):
            assert refused(tmp_path, pack({"t.onnx": made})).code == "external_data", location
    os.unlink(tmp_path / "t.onnx.data")
    os.mkfifo(tmp_path / "t.onnx.data")
    (tmp_path / "t.onnx").write_bytes(outside()[0].SerializeToString())
    with pytest.raises(TeacherRejected, match="not there"):
        load_teacher(tmp_path / "t.onnx")


@pytest.mark.parametrize(
    ("key", "value"),
    [("offset", "-8"), ("offset", "9" * 30), ("length", "10000000"), ("length", "-1"), ("offset", "x")],
)
def test_places_that_lie(tmp_path: Path, key: str, value: str) -> None:
    made, body = outside()
    next(e for e in made.graph.initializer[0].external_data if e.key == key).value = value
    archive = zipped({"t.onnx": made.SerializeToString(), "t.onnx.data": body})
    assert refused(tmp_path, archive).code == "corrupt_file"


def test_tensors_that_share_their_bytes(tmp_path: Path) -> None:
    """A small file could ask for terabytes."""
    made, body = outside()
    for number in range(100):
        made.graph.initializer.add().CopyFrom(made.graph.initializer[0])
        made.graph.initializer[-1].name = f"copy{number}"
    archive = zipped({"t.onnx": made.SerializeToString(), "t.onnx.data": body})
    error = refused(tmp_path, archive)
    assert (error.code, "overlap" in error.message) == ("corrupt_file", True)


# Several outputs.

ROW, LABEL, FLOAT, INT = ("n", CLASSES), ("n",), TensorProto.FLOAT, TensorProto.INT64
ARGMAX = node("ArgMax", "z", "label", axis=1, keepdims=0)


def test_the_only_row_of_floats_is_taken(tmp_path: Path) -> None:
    made = model(ARGMAX, node("Identity", "z", "y"), outputs={"label": (INT, LABEL), "y": (FLOAT, ROW)})
    teacher = read(tmp_path, made)
    same_answers(teacher)
    assert teacher.notes == ["the output y is taken, ignored: label"]
    pooled = {"map": (FLOAT, ("n", 6, 6, 6)), "y": (FLOAT, ROW), "one": (FLOAT, ("n", 1))}
    behind = (node("Identity", "c", "map"), node("Identity", "z", "y"), node("ReduceMax", "z", "one"))
    same_answers(read(tmp_path, model(*behind, outputs=pooled)))


def test_the_output_called_logits_is_taken(tmp_path: Path) -> None:
    made = model(
        node("Identity", "z", "logits"), outputs={"features": (FLOAT, None), "logits": (FLOAT, None)}
    )
    same_answers(read(tmp_path, made))


def test_one_of_several_is_named(tmp_path: Path) -> None:
    outputs = {"features": (FLOAT, ("n", 6)), "y": (FLOAT, ROW)}
    made = model(node("Identity", "z", "y"), outputs=outputs)
    error = refused(tmp_path, made)
    assert (error.code, error.param) == ("output_required", "output")
    assert all(part in error.message for part in ("features (n, 6)", "y (n, 4)", "--teacher-output NAME"))
    same_answers(read(tmp_path, made, output="y"))
    assert read(tmp_path, made, output="features").num_classes == 6
    error = refused(tmp_path, made, output="other")
    assert (error.code, error.param, "features" in error.message) == ("unknown_output", "output", True)


def test_what_the_logits_do_not_need_is_not_read(tmp_path: Path) -> None:
    """Here a ZipMap as Azure writes it, a text, a second input, and an operator of another domain."""
    strings = helper.make_tensor("names", TensorProto.STRING, [2], [b"a", b"b"])
    mapped = helper.make_node(
        "ZipMap", ["p"], ["loss"], domain="ai.onnx.ml", classlabels_strings=list("abcd")
    )
    strange = helper.make_node("Anything", ["names", "other"], ["w"], domain="com.example")
    softmax = node("Softmax", "z", "p", axis=1)
    made = model(
        softmax,
        ARGMAX,
        mapped,
        strange,
        outputs={"label": (INT, LABEL)},
        domains=("ai.onnx.ml", "com.example"),
    )
    made.graph.initializer.append(strings)
    made.graph.input.append(helper.make_tensor_value_info("other", FLOAT, [1]))
    made.graph.output.add(name="w")
    made.graph.output.add(name="loss")
    for output, kind in ((made.graph.output[1], INT), (made.graph.output[2], None)):
        if kind is not None:
            output.type.tensor_type.elem_type = kind
        else:
            values = helper.make_tensor_type_proto(FLOAT, [])
            output.type.CopyFrom(
                helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.STRING, values))
            )
    teacher = read(tmp_path, made)
    same_answers(teacher)
    assert teacher.notes == [
        "the output loss is taken, ignored: label, w",
        "ended with Softmax, which is left out: a student learns from logits",
    ]


def test_no_output_of_a_classifier(tmp_path: Path) -> None:
    outputs = {"boxes": (FLOAT, ("n", 100, 4)), "scores": (FLOAT, ("n", 100, 9))}
    behind = (node("Identity", "c", "boxes"), node("Identity", "c", "scores"))
    error = refused(tmp_path, model(*behind, outputs=outputs))
    assert (error.code, "boxes (n, 100, 4)" in error.message) == ("architecture_mismatch", True)
    error = refused(tmp_path, model(node("Identity", "c", "y")))
    assert (error.code, "[6, 6, 6]" in error.message) == ("architecture_mismatch", True)


# What comes behind the logits.

FLAT_TO_11 = (node("Unsqueeze", "p axes", "y"),)
ENDS: dict[str, tuple[Any, ...]] = {
    "nothing": (node("Identity", "p", "y"),),
    "cast": (node("Cast", "p", "h16", to=10), node("Cast", "h16", "y", to=1)),
    "reshape": (node("Reshape", "p shape", "y"),),
    "flatten": (node("Flatten", "p", "y"),),
    "(B, K, 1, 1)": FLAT_TO_11,
    "dropout": (node("Dropout", "p", "d"), node("Identity", "d", "y")),
}
CONSTANTS = {"shape": np.array([-1, CLASSES]), "axes": np.array([2, 3])}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "Identity", "Sigmoid"])
def test_probabilities_become_logits(tmp_path: Path, op: str, end: str) -> None:
    attributes = {"axis": 1} if "Softmax" in op else {}
    made = model(node(op, "z", "p", **attributes), *ENDS[end], tensors=CONSTANTS)
    if op == "Sigmoid":
        error = refused(tmp_path, made)
        assert (error.code, "multi-label" in error.message) == ("multi_label", True)
        return
    teacher = read(tmp_path, made)
    same_answers(teacher)
    assert [note.split(",")[0] for note in teacher.notes] == ([f"ended with {op}"] if attributes else [])


SOFTMAX = (
    node("ReduceMax", "z", "m", axes=[1]),
    node("Sub", "z m", "s"),
    node("Exp", "s", "e"),
    node("ReduceSum", "e one", "t"),
    node("Div", "e t", "y"),
)
SIGMOID = (node("Neg", "z", "m"), node("Exp", "m", "e"), node("Add", "e f", "t"), node("Div", "f t", "y"))


def test_probabilities_that_no_operator_tells(tmp_path: Path) -> None:
    made = model(*SOFTMAX, tensors={"one": np.array([1])}, opset=13)
    teacher = read(tmp_path, made)
    same_answers(teacher)
    assert [note.split(":")[0] for note in teacher.notes] == ["gives probabilities"]
    with torch.no_grad():
        assert bool(torch.isfinite(teacher.module(1e4 * torch.randn(4, *SHAPE))).all())
    assert refused(tmp_path, model(*SIGMOID, tensors={"f": np.float32(1)})).code == "multi_label"


ONE = {"h": HEAD[:1]}


@pytest.mark.parametrize(
    ("behind", "constants"),
    [
        ((node("Identity", "z", "y"),), {}),
        ((node("Sigmoid", "z", "y"),), {}),
        ((node("Sigmoid", "z", "p"), node("Squeeze", "p axis", "y")), {"axis": np.array([1])}),
        ((node("Unsqueeze", "z axes", "y"),), CONSTANTS),
        (SIGMOID, {"f": np.float32(1)}),
    ],
)
def test_one_logit_becomes_two(tmp_path: Path, behind: tuple[Any, ...], constants: dict[str, Any]) -> None:
    teacher = read(tmp_path, model(*behind, tensors={**ONE, **constants}), num_classes=1)
    assert teacher.num_classes == 2
    same_answers(teacher, lambda x: torch.nn.functional.pad(logits(x)[:, :1], [1, 0]))
    assert "[0, z]" in teacher.notes[-1]


# Images.


def test_sizes_left_open(tmp_path: Path) -> None:
    made = model(image=(FLOAT, ("n", 3, "height", "width")))
    error = refused(tmp_path, made)
    assert (error.code, error.param) == ("input_required", "input")
    assert "3x?x?" in error.message
    assert "--input 3x224x224" in error.message
    same_answers(read(tmp_path, made, input=InputConfig(SHAPE)))
    same_answers(read(tmp_path, model(image=(FLOAT, ("n", "c", "h", "w"))), input=InputConfig(SHAPE)))


def test_images_of_other_types(tmp_path: Path) -> None:
    """Each is compared with onnxruntime in its own type."""
    for kind in (TensorProto.UINT8, TensorProto.INT32, TensorProto.FLOAT16, TensorProto.DOUBLE):
        cast = (node("Cast", "x", "f", to=1),)
        teacher = read(tmp_path, model(before=cast, images="f", image=(kind, ("n", *SHAPE))))
        same_answers(teacher)
        assert all("pixels as whole numbers" in note for note in teacher.notes)
    bytes_last = (node("Cast", "x", "f", to=1), node("Transpose", "f", "g", perm=[0, 3, 1, 2]))
    made = model(before=bytes_last, images="g", image=(TensorProto.UINT8, ("n", 8, 8, 3)))
    teacher = read(tmp_path, made)
    same_answers(teacher)
    assert len(teacher.notes) == 2
    error = refused(tmp_path, model(image=(TensorProto.STRING, ("n",))))
    assert "encoded image files" in error.message


def test_images_without_a_channel(tmp_path: Path) -> None:
    before = (node("Unsqueeze", "x axis", "u"), node("Concat", "u u u", "f", axis=1))
    made = model(before=before, images="f", image=(FLOAT, ("n", 8, 8)), tensors={"axis": np.array([1])})
    teacher = read(tmp_path, made)
    assert teacher.input.shape == (1, 8, 8)
    with torch.no_grad():
        x_BCHW = torch.randn(2, 1, 8, 8)
        torch.testing.assert_close(teacher.module(x_BCHW), logits(x_BCHW.expand(-1, 3, -1, -1)))


# Eight bits.


def test_rounding_to_eight_bits_is_left_out(tmp_path: Path) -> None:
    scale = (np.abs(KERNEL).max((1, 2, 3)) / 127).astype("f4")
    small = np.round(KERNEL / scale[:, None, None, None]).astype(np.int8)
    before = (
        node("QuantizeLinear", "x xs xz", "q"),
        node("DequantizeLinear", "q xs xz", "f"),
        node("DequantizeLinear", "small ks kz", "k", axis=0),
    )
    made = model(before=before, images="f", tensors={
        "small": small, "ks": scale, "kz": np.zeros(6, np.int8), "xs": np.float32(0.1), "xz": np.int8(3),
    })  # fmt: skip
    del made.graph.initializer[0]  # k is computed now
    teacher = read(tmp_path, made)
    x_BCHW = torch.randn(5, *SHAPE)
    with torch.no_grad():
        torch.testing.assert_close(teacher.module(x_BCHW), logits(x_BCHW), rtol=0.05, atol=0.05)
    assert teacher.notes == ["read as a float network: its rounding to eight bits is left out"]


@pytest.mark.parametrize("op", ["DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "QLinearConv"])
def test_integers_throughout_are_called_what_they_are(tmp_path: Path, op: str) -> None:
    error = refused(tmp_path, model(node(op, "z", "y")))
    assert (error.code, "upload the float model" in error.message) == ("quantised_model", True)


def test_other_operators_are_called_what_they_are(tmp_path: Path) -> None:
    fused = helper.make_node("FusedConv", ["z"], ["y"], domain="com.microsoft")
    error = refused(tmp_path, model(fused, domains=("com.microsoft",)))
    assert (error.code, "before it was optimised" in error.message) == ("unsupported_op", True)
    made = model()
    made.opset_import[0].domain = "ai.onnx.ml"
    error = refused(tmp_path, made)
    assert (error.code, "ai.onnx.ml alone" in error.message) == ("unsupported_op", True)


# The batch.


@pytest.mark.parametrize("axes", [None, [0, 2, 3]])
@pytest.mark.parametrize("batch", ["n", 1])
def test_a_batch_that_is_squeezed_away(tmp_path: Path, axes: list[int] | None, batch: Any) -> None:
    constants = {} if axes is None else {"axes": np.array(axes)}
    behind = (
        node("Squeeze", "pooled" + (" axes" if axes else ""), "s"),
        node("MatMul", "s t", "y"),
    )
    made = model(*behind, tensors={"t": HEAD.T.copy(), **constants}, image=(FLOAT, (batch, *SHAPE)))
    error = refused(tmp_path, made)
    assert (error.code, "x.flatten(1)" in error.message) == ("squeezed_batch", True)


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0]])
def test_numbers_of_the_one_image_by_their_place(tmp_path: Path, order: list[int]) -> None:
    """As PyTorch writes as_strided, with a batch of one."""
    behind = (
        node("Reshape", "pooled all", "row"),
        node("Gather", "row places", "again"),
        node("Reshape", "again flat", "f"),
        node("MatMul", "f t", "y"),
    )
    places = np.array(order).reshape(1, 6, 1, 1)
    tensors = {"all": np.array([-1]), "places": places, "flat": np.array([1, 6]), "t": HEAD.T[order].copy()}
    same_answers(read(tmp_path, model(*behind, tensors=tensors, image=(FLOAT, (1, *SHAPE)))))


# Parameters.


@pytest.mark.parametrize(("bias", "numbers"), [("repeated", 0), ("stored", 6)])
def test_a_zero_repeated_for_each_channel_is_no_bias(tmp_path: Path, bias: str, numbers: int) -> None:
    tensors = {"zero": np.zeros(1, "f4"), "six": np.array([6]), "stored": np.zeros(6, "f4")}
    made = model(tensors=tensors, before=(node("Expand", "zero six", "repeated"),))
    made.graph.node[1].input.append(bias)
    teacher = read(tmp_path, made)
    assert sum(p.numel() for p in teacher.module.parameters()) == KERNEL.size + HEAD.size + numbers
    same_answers(teacher)


def test_zeros_that_only_large_images_give_are_still_probabilities(tmp_path: Path) -> None:
    """Of a sigmoid whose logit falls with the size of the images."""
    tensors = {"falling": -np.abs(HEAD), "one": np.float32(1), "two": np.float32(2)}
    behind = [
        node("MatMul", "features turned", "f"),
        node("Add", "f two", "shifted"),
        node("Sigmoid", "shifted", "s"),
        node("Mul", "s one", "y"),
    ]
    tensors["turned"] = tensors["falling"][:1].T.copy()
    teacher = read(tmp_path, model(*behind, tensors=tensors))
    assert any("gives probabilities" in note for note in teacher.notes)
    tensors["turned"] = tensors["falling"].T.copy()
    assert refused(tmp_path, model(*behind, tensors=tensors)).code == "multi_label"


def test_a_network_that_always_gives_zero(tmp_path: Path) -> None:
    teacher = read(tmp_path, model(node("Mul", "z nothing", "y"), tensors={"nothing": np.float32(0)}))
    assert teacher.notes == []


def test_images_of_a_batch_that_depend_on_each_other(tmp_path: Path) -> None:
    """In a graph for one image, and no other comparison would show it: eight bits are left out."""
    scale = {"scale": np.float32(0.01), "zero": np.int8(0)}
    behind = (
        node("QuantizeLinear", "z scale zero", "q"),
        node("DequantizeLinear", "q scale zero", "d"),
        node("CumSum", "d axis", "y"),
    )
    made = model(*behind, tensors={**scale, "axis": np.array(0)}, image=(FLOAT, (1, *SHAPE)))
    assert refused(tmp_path, made).code == "fixed_batch"


def test_a_weight_is_counted_once_and_what_is_computed_not_at_all(tmp_path: Path) -> None:
    behind = (
        node("Reshape", "scale flat", "row"),
        node("Mul", "z row", "a"),
        node("Reshape", "scale flat", "again"),
        node("Add", "a again", "b"),
        node("Exp", "scale", "computed"),
        node("Add", "b computed", "c"),
        node("Where", "none mask c", "y"),
    )
    mask = np.full((1, CLASSES), -np.inf, "f4")
    tensors = {
        "flat": np.array([-1]),
        "scale": RNG.normal(size=(1, CLASSES)).astype("f4"),
        "mask": mask,
        "none": np.zeros(CLASSES, "?"),
    }
    teacher = read(tmp_path, model(*behind, tensors=tensors))
    assert sum(p.numel() for p in teacher.module.parameters()) == KERNEL.size + HEAD.size + CLASSES


def test_weights_that_are_no_layers_are_parameters(tmp_path: Path) -> None:
    scale = RNG.normal(size=(1, CLASSES)).astype("f4")
    teacher = read(tmp_path, model(node("Mul", "z scale", "y"), tensors={"scale": scale}))
    assert sum(p.numel() for p in teacher.module.parameters()) == KERNEL.size + HEAD.size + CLASSES
    same_answers(teacher, lambda x_BCHW: logits(x_BCHW) * torch.from_numpy(scale))
