"""Normalisation inside a graph is read from it, wherever its operators have moved the pixels."""

import pytest
import torch
from torch import nn

from dfad_core.networks.graph_preprocessing import graph_preprocessing
from dfad_core.networks.onnx_graph import Graph, build_graph
from dfad_core.networks.onnx_graph.spec import Node

SHAPE = (3, 8, 8)
MEAN, STD = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)
FIRST = [Node("Cast", ("x",), ("f",), {"to": 1})]
LAST = [
    Node("Conv", ("y", "w"), ("c",), {"pads": [1, 1, 1, 1]}),
    Node("GlobalAveragePool", ("c",), ("p",)),
    Node("Flatten", ("p",), ("logits",), {"axis": 1}),
]


def graph(nodes: list[Node], **constants: torch.Tensor) -> nn.Module:
    tensors = {"w": torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0)), **constants}
    return build_graph(Graph("x", "logits", (*FIRST, *nodes, *LAST), 17), tensors, SHAPE).module


def channels(values: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(values).reshape(1, 3, 1, 1)


def test_subtraction_and_division() -> None:
    nodes = [Node("Sub", ("f", "m"), ("s",)), Node("Div", ("s", "d"), ("y",))]
    found = graph_preprocessing(graph(nodes, m=channels(MEAN), d=channels(STD)), SHAPE)
    assert found is not None
    assert found[0] == pytest.approx(MEAN, rel=1e-3)
    assert found[1] == pytest.approx(STD, rel=1e-3)


def test_channels_last_and_in_another_order() -> None:
    """As TensorFlow writes it: a factor and a summand on (B, H, W, C), blue first."""
    nodes = [
        Node("Transpose", ("f",), ("last",), {"perm": [0, 2, 3, 1]}),
        Node("Gather", ("last", "bgr"), ("turned",), {"axis": 3}),
        Node("Mul", ("turned", "factor"), ("scaled",)),
        Node("Add", ("scaled", "summand"), ("moved",)),
        Node("Transpose", ("moved",), ("y",), {"perm": [0, 3, 1, 2]}),
    ]
    std_bgr, mean_bgr = torch.tensor(STD[::-1]), torch.tensor(MEAN[::-1])
    module = graph(nodes, bgr=torch.tensor([2, 1, 0]), factor=1 / std_bgr, summand=-mean_bgr / std_bgr)
    found = graph_preprocessing(module, SHAPE)
    assert found is not None
    assert found[0] == pytest.approx(MEAN, rel=1e-3)
    assert found[1] == pytest.approx(STD, rel=1e-3)


def test_a_divisor_alone() -> None:
    found = graph_preprocessing(graph([Node("Div", ("f", "d"), ("y",))], d=torch.tensor(255.0)), SHAPE)
    assert found is not None
    assert found[0] == (0, 0, 0)
    assert found[1] == pytest.approx((255,) * 3, rel=1e-3)


def test_what_changes_no_pixel_or_is_not_linear_says_nothing() -> None:
    assert graph_preprocessing(graph([Node("Identity", ("f",), ("y",))]), SHAPE) is None
    assert graph_preprocessing(graph([Node("Sin", ("f",), ("y",))]), SHAPE) is None
    assert graph_preprocessing(nn.Flatten(), SHAPE) is None


def test_the_network_is_left_as_it_was() -> None:
    module = graph([Node("Div", ("f", "d"), ("y",))], d=torch.tensor(255.0))
    graph_preprocessing(module, SHAPE)
    assert all(p.grad is None for p in module.parameters())
