"""Networks as lists of layers: every mistake is named by its place, and what is checked is what is built.

Guards: the shape rules of `layer_list` against PyTorch itself, and the limits, which hold before memory is
asked for.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dfad_core.contract import layer_list
from dfad_core.contract.errors import ConfigError
from dfad_core.networks import build_classifier

NETWORK: list[dict[str, Any]] = [
    {"type": "conv", "channels": 8, "kernel": 5, "stride": 2},
    {"type": "batch_norm"},
    {"type": "hardswish"},
    {"type": "residual",
     "layers": [{"type": "conv", "channels": 8, "groups": 8}, {"type": "group_norm", "groups": 4}]},
    {"type": "max_pool"},
    {"type": "global_avg_pool"},
    {"type": "linear", "features": 16},
    {"type": "batch_norm"},
    {"type": "gelu"},
    {"type": "linear"},
]  # fmt: skip


def build(layers: Any, shape: tuple[int, int, int] = (3, 16, 16)) -> torch.nn.Module:
    return build_classifier("layers", num_classes=7, input_shape=shape, args={"layers": layers})


def test_a_network_is_built_trained_and_written_down_again() -> None:
    network = build(NETWORK)
    logits = network(torch.randn(4, 3, 16, 16))
    assert logits.shape == (4, 7)
    logits.sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    once = layer_list.checked(NETWORK, (3, 16, 16), 7)
    assert layer_list.checked(once, (3, 16, 16), 7) == once


@pytest.mark.parametrize(
    ("layers", "place"),
    [
        ("conv", "layers"),
        ([], "layers"),
        ([3], "layers.0"),
        ([{}], "layers.0.type"),
        ([{"type": "conv"}], "layers.0.channels"),
        ([{"type": "conv", "channels": True}], "layers.0.channels"),
        ([{"type": "conv", "channels": 10**6}], "layers.0.channels"),
        ([{"type": "conv", "channels": 4, "dilation": 2}], "layers.0.dilation"),
        ([{"type": "conv", "channels": 4, "kernel": 40, "padding": 0}], "layers.0"),
        ([{"type": "conv", "channels": 4, "groups": 3}], "layers.0"),
        ([{"type": "max_pool", "size": 17}], "layers.0"),
        ([{"type": "linear"}], "layers.0"),
        ([{"type": "flatten"}, {"type": "conv", "channels": 2}], "layers.1"),
        ([{"type": "conv", "channels": 7}], "layers.0"),
        ([{"type": "flatten"}, {"type": "linear", "features": 6}], "layers.1"),
        ([{"type": "residual", "layers": [{"type": "conv", "channels": 4}]}], "layers.0"),
        ([{"type": "residual", "layers": [{"type": "relu", "x": 1}]}], "layers.0.layers.0.x"),
        ([{"type": "residual"}], "layers.0.layers"),
        ([{"type": "relu"}] * 201, "layers.200"),
        ([{"type": "flatten"}, *[{"type": "linear", "features": 8192}] * 5, {"type": "linear"}], "layers.4"),
    ],
)
def test_a_mistake_is_named_by_its_place(layers: Any, place: str) -> None:
    with pytest.raises(ConfigError) as refused:
        layer_list.checked(layers, (3, 16, 16), 7)
    assert refused.value.param == place


def test_residuals_in_residuals_have_an_end() -> None:
    layer: dict[str, Any] = {"type": "relu"}
    for _ in range(2000):
        layer = {"type": "residual", "layers": [layer]}
    with pytest.raises(ConfigError, match="deep"):
        layer_list.checked([layer], (3, 16, 16), 7)


LAYER = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("conv"), "channels": st.integers(1, 6)},
        optional={
            "kernel": st.integers(1, 6), "stride": st.integers(1, 3), "padding": st.integers(0, 3),
            "groups": st.integers(1, 3),
        },
    ),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["max_pool", "avg_pool"])},
        optional={"size": st.integers(1, 4), "stride": st.integers(1, 3)},
    ),
    st.fixed_dictionaries({"type": st.just("linear")}, optional={"features": st.integers(1, 9)}),
    st.fixed_dictionaries({"type": st.just("group_norm"), "groups": st.integers(1, 3)}),
    st.sampled_from(["batch_norm", "global_avg_pool", "flatten", *layer_list.ACTIVATIONS]).map(
        lambda name: {"type": name}
    ),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(LAYER, min_size=1, max_size=7), st.integers(8, 12))
def test_what_is_accepted_can_be_run(layers: list[dict[str, Any]], side: int) -> None:
    layers = [*layers, {"type": "linear"}]
    try:
        layer_list.checked(layers, (2, side, 9), 7)
    except ConfigError:
        return
    assert build(layers, (2, side, 9)).eval()(torch.randn(2, 2, side, 9)).shape == (2, 7)
