"""ONNX teachers: what public exporters write is read, and what nobody should read is refused."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from dfad_core.contract.config import InputConfig  # noqa: E402
from dfad_core.contract.errors import TeacherRejected  # noqa: E402
from dfad_core.contract.methods import METHODS  # noqa: E402
from dfad_core.evaluation.inspection import inspect_teacher  # noqa: E402
from dfad_core.formats import load_teacher  # noqa: E402
from dfad_core.formats.converted import read_converted, write_converted  # noqa: E402
from dfad_core.formats.unfolded import with_batch_norm  # noqa: E402
from dfad_core.networks import build_classifier  # noqa: E402
from dfad_core.networks.batch_norm import bn_layers, recalibrate  # noqa: E402

SHAPE = (3, 32, 32)


class Logits(nn.Module):
    """A transformers model that gives its logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(pixel_values=images).logits  # type: ignore[no-any-return]


def _transformers(name: str) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    small = {
        "vit": transformers.ViTConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=32,
            patch_size=8, num_labels=10,
        ),
        "resnet": transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=10
        ),
        "convnext": transformers.ConvNextConfig(
            hidden_sizes=[8, 16], depths=[1, 1], num_stages=2, image_size=32, num_labels=10
        ),
        "swin": transformers.SwinConfig(
            image_size=32, patch_size=2, embed_dim=12, depths=[2, 2], num_heads=[2, 2], window_size=4,
            num_labels=10,
        ),
        "mobilenet_v2": transformers.MobileNetV2Config(depth_multiplier=0.25, image_size=32, num_labels=10),
        "poolformer": transformers.PoolFormerConfig(
            hidden_sizes=[8, 16, 16, 16], depths=[1] * 4, num_labels=10
        ),
    }  # fmt: skip
    config = small[name]
    if name == "swin":  # its other form the exporter does not manage with a free batch
        config._attn_implementation = "eager"
    return Logits(transformers.AutoModelForImageClassification.from_config(config))


def write(module: nn.Module, images: tuple[torch.Tensor, ...], path: Path, **options: Any) -> None:
    """By PyTorch's own exporter, in silence."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(module.eval(), images, path, **options)
    finally:
        logging.disable(logging.NOTSET)


def export(module: nn.Module, path: Path, *, dynamo: bool, dynamic: bool, shape: Any = SHAPE) -> None:
    """By PyTorch's own exporter, in either form, with a free batch or for one image alone."""
    images = torch.randn(2 if dynamic else 1, *shape)
    options: dict[str, Any] = {"dynamo": dynamo}
    if dynamo:
        options |= {"external_data": False, "verbose": False}
    if dynamic and dynamo:
        options["dynamic_shapes"] = ({0: torch.export.Dim("batch")},)
    elif dynamic:
        options |= {"input_names": ["x"], "dynamic_axes": {"x": {0: "batch"}}}
    write(module, (images,), path, **options)


def shaken(module: nn.Module) -> nn.Module:
    """With weights that are no initial values, so that nothing agrees by being zero."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return module.eval()


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize(
    "name", ["vit", "resnet", "convnext", "mobilenet_v2", "poolformer", "cnn8", "lenet5"]
)
def test_what_exporters_write(tmp_path: Path, name: str, dynamo: bool, dynamic: bool) -> None:
    torch.manual_seed(0)
    shape = {"cnn8": (1, 8, 8), "lenet5": (1, 32, 32)}.get(name, SHAPE)
    if shape == SHAPE:
        module = _transformers(name)
    else:
        module = build_classifier(name, num_classes=10, input_shape=shape)
    module = shaken(module)
    export(module, tmp_path / "m.onnx", dynamo=dynamo, dynamic=dynamic, shape=shape)
    teacher = load_teacher(tmp_path / "m.onnx")
    assert (teacher.architecture, teacher.num_classes, teacher.input.shape) == ("onnx", 10, shape)
    assert teacher.notes == []  # onnxruntime was asked, and agreed
    images = torch.randn(5, *shape)
    with torch.no_grad():
        torch.testing.assert_close(teacher.module(images), module(images), rtol=1e-3, atol=1e-4)
    write_converted(teacher, tmp_path / "c.safetensors")
    again = read_converted(tmp_path / "c.safetensors")
    with torch.no_grad():
        assert torch.equal(again.module(images), teacher.module(images))
    images.requires_grad_()
    again.module(images).logsumexp(1).sum().backward()  # type: ignore[no-untyped-call]
    assert images.grad is not None
    assert bool(torch.isfinite(images.grad).all())


def test_windows_of_one_image_need_a_free_batch(tmp_path: Path) -> None:
    module = shaken(_transformers("swin"))
    export(module, tmp_path / "free.onnx", dynamo=True, dynamic=True)
    assert load_teacher(tmp_path / "free.onnx").num_classes == 10
    export(module, tmp_path / "one.onnx", dynamo=True, dynamic=False)
    with pytest.raises(TeacherRejected) as caught:
        load_teacher(tmp_path / "one.onnx")
    assert caught.value.code == "fixed_batch"


KEPT = [
    {"dynamo": True, "optimize": False, "external_data": False},
    {"dynamo": False, "training": torch.onnx.TrainingMode.PRESERVE},
]
"""What the note on folded batch norm says."""


def with_statistics(shape: tuple[int, int, int]) -> nn.Module:
    """A ResNet-8 whose statistics are those of other images than the drawn ones."""
    torch.manual_seed(0)
    module = build_classifier("resnet8", num_classes=5, input_shape=shape)
    recalibrate(module, [torch.randn(64, *shape)])
    return module.eval()


@pytest.mark.parametrize("options", KEPT)
def test_batch_norm_that_was_not_folded_is_found(tmp_path: Path, options: dict[str, Any]) -> None:
    shape = (3, 16, 16)
    write(with_statistics(shape), (torch.randn(1, *shape),), tmp_path / "m.onnx", **options)
    teacher = load_teacher(tmp_path / "m.onnx")
    assert len(bn_layers(teacher.module)) == 7
    assert with_batch_norm(teacher) is teacher


@pytest.mark.parametrize("dynamo", [True, False])
def test_batch_norm_that_was_folded_is_put_back_and_said(tmp_path: Path, *, dynamo: bool) -> None:
    shape = (3, 16, 16)
    export(with_statistics(shape), tmp_path / "m.onnx", dynamo=dynamo, dynamic=True, shape=shape)
    given = InputConfig(shape, mean=(0.5,) * 3, std=(0.25,) * 3)
    teacher = load_teacher(tmp_path / "m.onnx", input=given)
    assert not bn_layers(teacher.module)
    restored = with_batch_norm(teacher)
    assert len(bn_layers(restored.module)) == 7
    assert teacher.notes == []
    assert ["optimize=False" in note and "PRESERVE" in note for note in restored.notes] == [True]
    images = torch.randn(5, *shape)
    with torch.no_grad():
        torch.testing.assert_close(restored.module(images), teacher.module(images), rtol=1e-3, atol=1e-3)
    told = inspect_teacher(teacher, offers=False)
    assert (told.bn_layers, told.norms, told.bn_statistics) == (0, {}, True)
    assert told.notes == tuple(restored.notes)
    assert all(advice.suits for advice in told.methods if METHODS[advice.name].needs_bn)


def model(
    nodes: list[Any] | None = None,
    *,
    tensors: list[Any] | None = None,
    dims: tuple[Any, ...] = ("n", 1, 8, 8),
    change: Callable[[Any], None] | None = None,
) -> bytes:
    """A file of few bytes: 64 pixels straight to 64 logits, or what is asked for."""
    nodes = nodes or [helper.make_node("Flatten", ["x"], ["y"])]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)
    taken = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [given], [taken], tensors or [])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if change is not None:
        change(made)
    return bytes(made.SerializeToString())


def constant(name: str, values: Any) -> Any:
    return numpy_helper.from_array(np.asarray(values), name)


def outside(made: Any) -> None:
    tensor = made.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def node(*args: Any, **kwargs: Any) -> list[Any]:
    return [helper.make_node(*args, **kwargs)]


GIANT = [
    helper.make_node("ConstantOfShape", ["s"], ["big"]),
    helper.make_node("ReduceMax", ["big"], ["one"], keepdims=0),
    helper.make_node("Flatten", ["x"], ["f"]),
    helper.make_node("Add", ["f", "one"], ["y"]),
]
BRANCH = helper.make_graph(
    node("Identity", ["x"], ["z"]), "b", [], [helper.make_empty_tensor_value_info("z")]
)
BAD: dict[str, tuple[bytes, str]] = {
    "external data": (model(change=outside), "external_data"),
    "four terabytes": (model(GIANT, tensors=[constant("s", [2**40])]), "memory_limit"),
    "negative size": (model(GIANT, tensors=[constant("s", [-5])]), "corrupt_file"),
    "tile": (
        model(node("Tile", ["x", "r"], ["y"]), tensors=[constant("r", [1, 2**20, 2**20, 1])]),
        "memory_limit",
    ),
    "expand": (
        model(node("Expand", ["x", "r"], ["y"]), tensors=[constant("r", [1, 2**40, 1, 1])]),
        "memory_limit",
    ),
    "pad": (
        model(node("Pad", ["x", "p"], ["y"]), tensors=[constant("p", [0, 0, 2**30, 0, 0, 0, 0, 2**30])]),
        "memory_limit",
    ),
    "range": (
        model(
            node("Range", ["a", "b", "c"], ["y"]),
            tensors=[constant("a", 0), constant("b", 2**50), constant("c", 1)],
        ),
        "memory_limit",
    ),
    "outer product of constants": (
        model(
            [
                *node("MatMul", ["a", "b"], ["c"]),
                *node("ReduceMax", ["c"], ["d"]),
                *node("Add", ["x", "d"], ["y"]),
            ],
            tensors=[constant("a", np.ones((70000, 1), "f4")), constant("b", np.ones((1, 70000), "f4"))],
        ),
        "memory_limit",
    ),
    "unknown operator": (model(node("NonZero", ["x"], ["y"])), "unsupported_op"),
    "another domain": (model(node("Exec", ["x"], ["y"], domain="com.evil")), "unsupported_op"),
    "a loop": (model(node("If", ["c"], ["y"], then_branch=BRANCH, else_branch=BRANCH)), "unsupported_op"),
    "size in the weights that is not there": (
        model(
            node("MatMul", ["x", "w"], ["y"]),
            tensors=[TensorProto(name="w", data_type=1, dims=[2, 2**40], raw_data=b"1234")],
        ),
        "corrupt_file",
    ),
    "negative size in the weights": (
        model(
            node("Add", ["x", "w"], ["y"]),
            tensors=[TensorProto(name="w", data_type=1, dims=[-1, -4], raw_data=b"1" * 16)],
        ),
        "corrupt_file",
    ),
    "text in the weights": (
        model(
            node("Add", ["x", "w"], ["y"]),
            tensors=[TensorProto(name="w", data_type=8, dims=[1], string_data=[b"x"])],
        ),
        "tensor_layout",
    ),
    "sparse": (
        model(change=lambda m: m.graph.sparse_initializer.add(dims=[4])),
        "tensor_layout",
    ),
    "NaN": (
        model(node("Add", ["x", "w"], ["y"]), tensors=[constant("w", np.float32("nan"))]),
        "nonfinite_weights",
    ),
    "no logits": (model(node("Relu", ["x"], ["y"])), "architecture_mismatch"),
    "sums up the batch": (model(node("ReduceSum", ["x"], ["y"], keepdims=0)), "architecture_mismatch"),
    "depends on nothing": (
        model(node("Identity", ["w"], ["y"]), tensors=[constant("w", np.ones((3, 4), "f4"))]),
        "unsupported_op",
    ),
    "input that nobody makes": (model(node("Add", ["x", "nothing"], ["y"])), "corrupt_file"),
    "sizes that do not fit": (
        model(node("MatMul", ["x", "w"], ["y"]), tensors=[constant("w", np.ones((3, 3), "f4"))]),
        "corrupt_file",
    ),
    "a missing attribute": (model(node("DepthToSpace", ["x"], ["y"])), "corrupt_file"),
    "a kernel of nothing": (model(node("MaxPool", ["x"], ["y"], kernel_shape=[0, 0])), "unsupported_op"),
    "not images": (model(dims=("n", 5)), "architecture_mismatch"),
    "any size": (model(dims=("n", 1, "h", "w")), "input_required"),
    "no node": (model(change=lambda m: m.graph.ClearField("node")), "corrupt_file"),
    "operators of the future": (
        model(change=lambda m: setattr(m.opset_import[0], "version", 900)),
        "unsupported_op",
    ),
    "two inputs": (
        model(
            node("Add", ["x", "z"], ["y"]),
            change=lambda m: (
                m.graph.input.add(name="z").CopyFrom(m.graph.input[0])
                or setattr(m.graph.input[1], "name", "z")
            ),
        ),
        "architecture_mismatch",
    ),
    "torn": (model(GIANT, tensors=[constant("s", [4])])[:-9], "corrupt_file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files(tmp_path: Path, case: str) -> None:
    content, code = BAD[case]
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(TeacherRejected) as caught:
        load_teacher(tmp_path / "m.onnx")
    assert caught.value.code == code, caught.value.message


def test_sizes_that_the_file_leaves_open_are_given(tmp_path: Path) -> None:
    nodes = [*node("GlobalAveragePool", ["x"], ["p"]), *node("Flatten", ["p"], ["y"])]
    (tmp_path / "m.onnx").write_bytes(model(nodes, dims=("n", 3, "h", "w")))
    assert load_teacher(tmp_path / "m.onnx", input=InputConfig((3, 16, 16))).num_classes == 3
    with pytest.raises(TeacherRejected, match="images of"):
        load_teacher(tmp_path / "m.onnx", input=InputConfig((1, 16, 16)))


def test_channels_last_and_a_last_softmax(tmp_path: Path) -> None:
    nodes = [
        *node("ReduceMean", ["x", "a"], ["p"], keepdims=0),
        *node("Softmax", ["p"], ["y"], axis=-1),
    ]
    (tmp_path / "m.onnx").write_bytes(model(nodes, tensors=[constant("a", [1, 2])], dims=("n", 8, 8, 3)))
    teacher = load_teacher(tmp_path / "m.onnx")
    assert teacher.input.shape == (3, 8, 8)
    assert len(teacher.notes) == 2
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(teacher.module(images), images.mean((2, 3)))
