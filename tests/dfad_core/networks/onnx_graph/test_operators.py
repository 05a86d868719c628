"""Every operator of the table, beside onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from dfad_core.contract.errors import TeacherRejected  # noqa: E402
from dfad_core.formats.onnx_parser import read_onnx  # noqa: E402
from dfad_core.networks.onnx_graph import build_graph  # noqa: E402
from dfad_core.networks.onnx_graph.operators import OPERATORS  # noqa: E402

SHAPE = (4, 6, 6)
RNG = np.random.default_rng(0)


def weights(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def floats(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


ONE = floats(0.5)[0:1].reshape(())
# Operator, attributes, constant inputs behind the images; a string is an operator that is put before.
CASES: list[tuple[str, dict[str, Any], list[np.ndarray | str]]] = [
    *((name, {}, []) for name in (
        "Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Sigmoid", "HardSigmoid", "HardSwish", "Mish", "Softplus",
        "Softsign", "Tanh", "Abs", "Neg", "Exp", "Erf", "Sin", "Cos", "Floor", "Ceil", "Sign", "Reciprocal",
        "Identity", "Dropout", "GlobalAveragePool", "GlobalMaxPool", "Softmax", "LogSoftmax", "Flatten",
        "Gelu",
    )),
    ("Gelu", {"approximate": "tanh"}, []),
    ("Sqrt", {}, ["Abs"]), ("Log", {}, ["Exp"]),
    ("LeakyRelu", {"alpha": 0.3}, []), ("Elu", {"alpha": 0.7}, []), ("Celu", {"alpha": 1.5}, []),
    ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}, []),
    ("PRelu", {}, [weights(4, 1, 1)]),
    ("Clip", {}, [floats(0.0).reshape(()), floats(6.0).reshape(())]),
    ("Clip", {}, [floats(-0.3).reshape(())]),
    ("Clip", {}, [floats(0.0).reshape(())]),
    ("Softmax", {"axis": 1}, []), ("LogSoftmax", {"axis": -2}, []),
    ("Conv", {}, [weights(5, 4, 3, 3), weights(5)]),
    ("Conv", {"pads": [1, 1, 1, 1], "strides": [2, 2], "group": 2}, [weights(6, 2, 3, 3)]),
    ("Conv", {"pads": [0, 1, 2, 1], "dilations": [2, 1]}, [weights(5, 4, 3, 3)]),
    ("Conv", {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, [weights(5, 4, 3, 3)]),
    ("Conv", {"auto_pad": "SAME_LOWER"}, [weights(5, 4, 2, 2)]),
    ("Conv", {"auto_pad": "VALID"}, [weights(5, 4, 3, 3)]),
    ("BatchNormalization", {"epsilon": 1e-3}, [weights(4), weights(4), weights(4), np.abs(weights(4)) + 0.1]),
    ("InstanceNormalization", {}, [weights(4), weights(4)]),
    ("LayerNormalization", {"axis": -1}, [weights(6), weights(6)]),
    ("LayerNormalization", {"axis": 2, "epsilon": 1e-3}, [weights(6, 6)]),
    ("GroupNormalization", {"num_groups": 2}, [weights(4), weights(4)]),
    ("LRN", {"size": 3}, []), ("LpNormalization", {"axis": 1, "p": 2}, []),
    ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}, []),
    ("MaxPool", {"kernel_shape": [3, 3], "pads": [0, 0, 1, 1], "strides": [2, 2]}, []),
    ("MaxPool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1, "strides": [2, 2]}, []),
    ("AveragePool", {"kernel_shape": [2, 2]}, []),
    ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, []),
    ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}, []),
    ("AveragePool", {"kernel_shape": [3, 3], "pads": [0, 0, 1, 1]}, []),
    ("MatMul", {}, [weights(6, 3)]), ("MatMul", {}, [weights(1, 4, 6, 2)]),
    ("Add", {}, [weights(4, 1, 1)]), ("Sub", {}, [weights(6)]), ("Mul", {}, [weights(4, 1, 1)]),
    ("Div", {}, [floats(2.0)]), ("Pow", {}, [floats(2.0).reshape(())]), ("Min", {}, [weights(6)]),
    ("Max", {}, [weights(6), weights(1)]), ("Sum", {}, [weights(6)]), ("Mean", {}, [weights(4, 6, 6)[None]]),
    ("Mod", {"fmod": 1}, [floats(0.7)]),
    ("Einsum", {"equation": "bchw,wd->bchd"}, [weights(6, 3)]),
    ("ReduceMean", {"keepdims": 0}, [ints(2, 3)]), ("ReduceSum", {}, [ints(-1)]),
    ("ReduceMax", {}, [ints(1)]),
    ("ReduceMin", {}, [ints(1, 2)]), ("ReduceProd", {}, [ints(2, 3)]), ("ReduceL1", {}, [ints(1)]),
    ("ReduceL2", {}, [ints(1)]), ("ReduceSumSquare", {}, [ints(1)]), ("ReduceLogSumExp", {}, [ints(1)]),
    ("CumSum", {}, [np.array(2)]), ("CumSum", {}, [ints(-1)]),
    ("Reshape", {}, [ints(0, 2, -1, 6)]), ("Transpose", {"perm": [0, 2, 3, 1]}, []),
    ("Unsqueeze", {}, [ints(1, -1)]), ("Squeeze", {}, ["Unsqueeze", ints(1)]),
    ("Concat", {"axis": 1}, [weights(1, 4, 6, 6)]), ("Slice", {}, [ints(1), ints(5), ints(2), ints(2)]),
    ("Slice", {}, [ints(-1), ints(-7), ints(3), ints(-1)]),
    ("Slice", {}, [ints(1, 0), ints(9, -2), ints(1, 3)]),
    ("Gather", {"axis": 2}, [ints(0, -1, 3)]), ("Gather", {"axis": 1}, [np.array(2)]),
    ("Expand", {}, [ints(1, 4, 6, 6)]), ("Tile", {}, [ints(1, 2, 1, 1)]),
    ("Pad", {}, [ints(0, 0, 1, 2, 0, 0, 0, 1), floats(0.5).reshape(())]),
    ("Pad", {"mode": "reflect"}, [ints(0, 0, 1, 1, 0, 0, 1, 1)]),
    ("Pad", {"mode": "edge"}, [ints(0, 0, 1, 1, 0, 0, 1, 1)]),
    ("DepthToSpace", {"blocksize": 2}, []), ("DepthToSpace", {"blocksize": 2, "mode": "CRD"}, []),
    ("SpaceToDepth", {"blocksize": 2}, []),
    ("Resize", {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
     [floats(), floats(1, 1, 2, 2)]),
    ("Resize", {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
     [floats(), floats(), ints(1, 4, 9, 9)]),
    ("Cast", {"to": TensorProto.FLOAT}, []),
]  # fmt: skip
# Those whose results are shapes or truths get a small graph of their own.
TRUTHS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")


def write(path: Path, nodes: list[Any], constants: dict[str, np.ndarray], opset: int = 21) -> None:
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", *SHAPE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", None])
    graph = helper.make_graph(nodes, "g", [images], [logits], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    path.write_bytes(model.SerializeToString())


def agree(path: Path, within: float = 1e-5) -> None:
    network = read_onnx(path)
    assert network.shape == SHAPE
    module = build_graph(network.graph, network.tensors, SHAPE).module
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    images = torch.from_numpy(RNG.normal(size=(2, *SHAPE)).astype(np.float32))
    # One at a time: a constant that is as large as an image is written for one.
    wanted = np.concatenate([session.run(None, {"images": one.numpy()})[0] for one in images.split(1)])
    with torch.no_grad():
        found = module(images).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=within)


def flat(name: str) -> list[Any]:
    """To logits: all values of an image in a row."""
    return [helper.make_node("Flatten", [name], ["logits"], axis=1)]


@pytest.mark.parametrize(
    ("op", "attributes", "given"), CASES, ids=[f"{n}-{c[0]}" for n, c in enumerate(CASES)]
)
def test_as_onnxruntime(tmp_path: Path, op: str, attributes: dict[str, Any], given: list[Any]) -> None:
    constants = {f"c{n}": c for n, c in enumerate(given) if not isinstance(c, str)}
    before = next((c for c in given if isinstance(c, str)), None)
    nodes = []
    source = "images"
    if before is not None:
        extra = {"Unsqueeze": ["one"]}.get(before, [])
        constants |= {"one": ints(1)} if extra else {}
        nodes.append(helper.make_node(before, ["images", *extra], ["before"]))
        source = "before"
    names = [f"c{n}" for n, c in enumerate(given) if not isinstance(c, str)]
    nodes.append(helper.make_node(op, [source, *names], ["raw"], **attributes))
    # Probabilities at the very end would be left out.
    nodes.append(helper.make_node("Mul", ["raw", "two"], ["value"]))
    constants["two"] = floats(2)
    path = tmp_path / "m.onnx"
    write(path, [*nodes, *flat("value")], constants)
    agree(path)


@pytest.mark.parametrize("op", TRUTHS)
def test_comparisons(tmp_path: Path, op: str) -> None:
    nodes = [
        helper.make_node(op, ["images", "c"], ["truth"]),
        helper.make_node("Not", ["truth"], ["lie"]),
        helper.make_node("Or", ["truth", "lie"], ["all"]),
        helper.make_node("And", ["truth", "all"], ["some"]),
        helper.make_node("Where", ["some", "images", "c"], ["value"]),
    ]
    write(tmp_path / "m.onnx", [*nodes, *flat("value")], {"c": floats(0.1)})
    agree(tmp_path / "m.onnx")


def test_what_is_not_a_number_is_found(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Log", ["images"], ["log"]),
        helper.make_node("IsNaN", ["log"], ["nan"]),
        helper.make_node("Where", ["nan", "c", "log"], ["value"]),
    ]
    write(tmp_path / "m.onnx", [*nodes, *flat("value")], {"c": floats(0.1)})
    agree(tmp_path / "m.onnx")


def test_masks_that_are_written_into_constants(tmp_path: Path) -> None:
    """As torchvision's Swin Transformer makes them."""
    nodes = [
        helper.make_node("ScatterND", ["plain", "places", "values"], ["mask"]),
        helper.make_node("ScatterElements", ["mask", "columns", "others"], ["both"], axis=1),
        helper.make_node("GatherND", ["both", "rows"], ["turned"]),
        helper.make_node("Mul", ["images", "turned"], ["value"]),
    ]
    constants = {"plain": weights(6, 6), "places": ints(0, 1, 5, 5).reshape(2, 2), "values": floats(2, 3)}
    constants |= {"columns": ints(3, -1).reshape(1, 2), "others": weights(1, 2)}
    constants["rows"] = ints(5, 4, 3, 2, 1, 0).reshape(6, 1)
    write(tmp_path / "m.onnx", [*nodes, *flat("value")], constants)
    agree(tmp_path / "m.onnx")
    for op, inputs in (
        ("GatherND", ["images", "rows"]),
        ("ScatterND", ["images", "places", "values"]),
        ("ScatterElements", ["images", "columns", "others"]),
    ):
        write(tmp_path / "m.onnx", [helper.make_node(op, inputs, ["value"]), *flat("value")], constants)
        with pytest.raises(TeacherRejected, match=r"constants (and sizes )?alone") as refused:
            agree(tmp_path / "m.onnx")
        assert refused.value.code == "unsupported_op"


def test_a_layer_of_a_constant(tmp_path: Path) -> None:
    """As the encodings of positions in EdgeNeXt."""
    nodes = [
        helper.make_node("Conv", ["positions", "kernel"], ["encoded"]),
        helper.make_node("Add", ["images", "encoded"], ["value"]),
    ]
    constants = {"positions": weights(1, 3, 6, 6), "kernel": weights(4, 3, 1, 1)}
    write(tmp_path / "m.onnx", [*nodes, *flat("value")], constants)
    agree(tmp_path / "m.onnx")


def refused(path: Path, nodes: list[Any], constants: dict[str, np.ndarray]) -> str:
    """The code with which the graph is refused."""
    write(path, nodes, constants)
    with pytest.raises(TeacherRejected) as error:
        build_graph(read_onnx(path).graph, read_onnx(path).tensors, SHAPE)
    return error.value.code


def filled(name: str, shape: str, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_node("ConstantOfShape", [shape], [name], value=helper.make_tensor("v", kind, [1], [1]))


def test_a_layer_of_constants_that_asks_for_too_much(tmp_path: Path) -> None:
    """Its result is weighed before it is computed."""
    nodes = [filled("a", "tall"), filled("b", "wide"), helper.make_node("Gemm", ["a", "b"], ["c"])]
    nodes += [
        helper.make_node("ReduceMax", ["c"], ["m"]),
        helper.make_node("Add", ["images", "m"], ["value"]),
    ]
    constants = {"tall": ints(2**17, 1), "wide": ints(1, 2**17)}
    assert refused(tmp_path / "m.onnx", [*nodes, *flat("value")], constants) == "memory_limit"


@pytest.mark.parametrize("op", ["GatherND", "ScatterND"])
def test_positions_of_more_dimensions_than_there_are(tmp_path: Path, op: str) -> None:
    nodes = [filled("index", "long", TensorProto.INT64)]
    updates = ["c"] if op == "ScatterND" else []
    nodes += [helper.make_node(op, ["c", "index", *updates], ["d"])]
    nodes += [helper.make_node("Add", ["images", "d"], ["value"]), *flat("value")]
    assert refused(tmp_path / "m.onnx", nodes, {"c": weights(6), "long": ints(1, 2**26)}) == "corrupt_file"


def test_a_sequence_of_very_many_pieces(tmp_path: Path) -> None:
    nodes = [filled("c", "long"), helper.make_node("SplitToSequence", ["c", "one"], ["pieces"])]
    nodes += [helper.make_node("SequenceAt", ["pieces", "one"], ["d"])]
    nodes += [helper.make_node("Add", ["images", "d"], ["value"]), *flat("value")]
    constants = {"long": ints(2**26), "one": np.array(1)}
    assert refused(tmp_path / "m.onnx", nodes, constants) == "unsupported_op"


def test_sequences_are_no_tensors_and_tensors_no_sequences(tmp_path: Path) -> None:
    split = helper.make_node("SplitToSequence", ["images", "two"], ["logits"], axis=1)
    assert refused(tmp_path / "m.onnx", [split], {"two": np.array(2)}) == "unsupported_op"
    at = helper.make_node("SequenceAt", ["images", "two"], ["value"])
    assert refused(tmp_path / "m.onnx", [at, *flat("value")], {"two": np.array(2)}) == "unsupported_op"


def test_a_sequence_of_constants(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("SplitToSequence", ["c", "one"], ["pieces"]),
        helper.make_node("SequenceAt", ["pieces", "last"], ["d"]),
        helper.make_node("Add", ["images", "d"], ["value"]),
    ]
    constants = {"c": weights(3, 6), "one": np.array(1), "last": np.array(-1)}
    write(tmp_path / "m.onnx", [*nodes, *flat("value")], constants)
    agree(tmp_path / "m.onnx")


def test_positions_in_a_shape(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["images"], ["shape"], start=1),
        helper.make_node("Gather", ["shape", "first"], ["channels"]),
        helper.make_node("GatherND", ["shape", "first"], ["again"]),
        helper.make_node("Cast", ["channels"], ["a"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["again"], ["b"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["a", "b"], ["both"]),
        helper.make_node("Add", ["images", "both"], ["value"]),
    ]
    write(tmp_path / "m.onnx", [*nodes, *flat("value")], {"first": ints(0).reshape(1, 1)})
    agree(tmp_path / "m.onnx")


@pytest.mark.parametrize("lengths", [np.array(2), np.array(4), ints(1, 3)], ids=["even", "all", "listed"])
def test_sequences(tmp_path: Path, lengths: np.ndarray) -> None:
    nodes = [
        helper.make_node("SplitToSequence", ["images", "lengths"], ["pieces"], axis=1),
        helper.make_node("SequenceAt", ["pieces", "last"], ["value"]),
    ]
    write(tmp_path / "m.onnx", [*nodes, *flat("value")], {"lengths": lengths, "last": np.array(-1)})
    agree(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("side", "attributes"),
    [(6, {"strides": [2, 2]}), (4, {}), (4, {"strides": [2, 2], "pads": [1, 1, 1, 1]})],
    ids=["side by side", "one over another", "padded"],
)
def test_columns_to_images(tmp_path: Path, side: int, attributes: dict[str, Any]) -> None:
    nodes = [
        helper.make_node("Reshape", ["images", "columns"], ["in_columns"]),
        helper.make_node("Col2Im", ["in_columns", "size", "block"], ["value"], **attributes),
    ]
    constants = {"columns": ints(0, 16, 9), "size": ints(side, side), "block": ints(2, 2)}
    write(tmp_path / "m.onnx", [*nodes, *flat("value")], constants)
    agree(tmp_path / "m.onnx")


def test_weights_that_are_standardised_by_a_batch_norm(tmp_path: Path) -> None:
    """As BiT's convolutions: its training form is right for weights, and refused for images."""
    outputs = ["normed", "mean", "var"]
    inputs = ["scale", "shift", "old_mean", "old_var"]
    nodes = [
        helper.make_node("Reshape", ["weight", "rows"], ["in_rows"]),
        helper.make_node("BatchNormalization", ["in_rows", *inputs], outputs, training_mode=1, epsilon=1e-3),
        helper.make_node("Reshape", ["normed", "as_kernel"], ["kernel"]),
        helper.make_node("Conv", ["images", "kernel"], ["value"]),
    ]
    constants = {"weight": weights(5, 4, 3, 3), "rows": ints(1, 5, -1), "as_kernel": ints(5, 4, 3, 3)}
    constants |= {name: weights(5) for name in ("scale", "shift", "old_mean")} | {"old_var": floats(*[1] * 5)}
    write(tmp_path / "m.onnx", [*nodes, *flat("value")], constants)
    agree(tmp_path / "m.onnx")
    nodes = [helper.make_node("BatchNormalization", ["images", *inputs], outputs, training_mode=1)]
    constants = {name: constants[name][:4] for name in inputs}
    write(tmp_path / "m.onnx", [*nodes, *flat("normed")], constants)
    with pytest.raises(TeacherRejected, match=r"export the model after model\.eval"):
        agree(tmp_path / "m.onnx")


def test_rounding_to_eight_bits_is_left_out(tmp_path: Path) -> None:
    scale = 0.05  # up to 6.4
    nodes = [
        helper.make_node("QuantizeLinear", ["images", "scale", "zero"], ["whole"]),
        helper.make_node("DequantizeLinear", ["whole", "scale", "zero"], ["value"]),
    ]
    constants = {"scale": floats(scale).reshape(()), "zero": np.array(0, dtype=np.int8)}
    write(tmp_path / "m.onnx", [*nodes, *flat("value")], constants)
    agree(tmp_path / "m.onnx", within=0.51 * scale)


def test_shapes_are_computed_for_any_batch(tmp_path: Path) -> None:
    """As exporters write `x.view(x.size(0), -1)`, and what transformers do with sizes."""
    nodes = [
        helper.make_node("Shape", ["images"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["batch"], axis=0),
        helper.make_node("Unsqueeze", ["batch", "axis"], ["batch1"]),
        helper.make_node("Size", ["images"], ["size"]),
        helper.make_node("Div", ["size", "batch"], ["each"]),
        helper.make_node("Unsqueeze", ["each", "axis"], ["each1"]),
        helper.make_node("Concat", ["batch1", "each1"], ["target"], axis=0),
        helper.make_node("Reshape", ["images", "target"], ["rows"]),
        helper.make_node("ConstantOfShape", ["target"], ["zeros"]),
        helper.make_node("Add", ["rows", "zeros"], ["sum"]),
        helper.make_node("Range", ["zero", "each", "one"], ["range"]),
        helper.make_node("Cast", ["range"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("CastLike", ["numbers", "sum"], ["alike"]),
        helper.make_node("Mul", ["sum", "alike"], ["product"]),
        helper.make_node("Split", ["product", "sizes"], ["left", "right"], axis=1),
        helper.make_node("Concat", ["right", "left"], ["logits"], axis=1),
    ]
    constants = {"zero": np.array(0), "one": np.array(1), "axis": ints(0), "sizes": ints(100, 44)}
    write(tmp_path / "m.onnx", nodes, constants)
    agree(tmp_path / "m.onnx")


def test_a_range_of_real_numbers(tmp_path: Path) -> None:
    """As torch.linspace is exported."""
    nodes = [
        helper.make_node("Cast", ["zero"], ["begin"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["ten"], ["end"], to=TensorProto.FLOAT),
        helper.make_node("CastLike", ["one", "end"], ["step"]),
        helper.make_node("Range", ["begin", "end", "step"], ["range"]),
        helper.make_node("Flatten", ["images"], ["rows"], axis=1),
        helper.make_node("Slice", ["rows", "first", "last", "axis"], ["some"]),
        helper.make_node("Mul", ["some", "range"], ["logits"]),
    ]
    constants = {"zero": np.array(0), "one": np.array(1), "ten": np.array(10)}
    write(tmp_path / "m.onnx", nodes, constants | {"first": ints(0), "last": ints(10), "axis": ints(1)})
    agree(tmp_path / "m.onnx")


def test_a_linear_layer_and_old_forms(tmp_path: Path) -> None:
    """Operator sets before 13 keep axes, pads and bounds as attributes."""
    nodes = [
        helper.make_node("Pad", ["images"], ["padded"], pads=[0, 0, 1, 0, 0, 0, 0, 0]),
        helper.make_node("Slice", ["padded"], ["cut"], starts=[1], ends=[7], axes=[2]),
        helper.make_node("Clip", ["cut"], ["clipped"], min=-1.0, max=1.0),
        helper.make_node("Upsample", ["clipped"], ["large"], mode="nearest", scales=[1.0, 1.0, 2.0, 2.0]),
        helper.make_node("ReduceMean", ["large"], ["means"], axes=[2, 3], keepdims=1),
        helper.make_node("Squeeze", ["means"], ["row"], axes=[2, 3]),
        helper.make_node("Split", ["row"], ["first", "rest"], axis=1, split=[1, 3]),
        helper.make_node("Concat", ["rest", "first"], ["turned"], axis=1),
        helper.make_node("Unsqueeze", ["turned"], ["deep"], axes=[2]),
        helper.make_node("Softmax", ["deep"], ["soft"]),
        helper.make_node("Flatten", ["soft"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["logits"], transB=1, alpha=0.5, beta=2.0),
    ]
    write(tmp_path / "m.onnx", nodes, {"w": weights(3, 4), "b": weights(3)}, opset=8)
    agree(tmp_path / "m.onnx")


def test_every_operator_is_tried() -> None:
    tried = {case[0] for case in CASES} | {s for c in CASES for s in c[2] if isinstance(s, str)} | set(TRUTHS)
    tried |= {
        "Gemm", "Upsample", "Split", "Not", "And", "Or", "Where", "IsNaN", "Shape", "Size", "ConstantOfShape",
        "Range", "CastLike", "Col2Im", "QuantizeLinear", "DequantizeLinear",
        "GatherND", "ScatterND", "ScatterElements", "SplitToSequence", "SequenceAt",
    }  # fmt: skip
    assert set(OPERATORS) - tried == set()
