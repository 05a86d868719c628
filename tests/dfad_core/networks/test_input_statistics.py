"""Where nobody says a teacher's range of pixels, it is found."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dfad_core.contract.config import InputConfig
from dfad_core.networks.drawings import LevelSets
from dfad_core.networks.input_statistics import pixel_range
from dfad_core.networks.onnx_graph import Graph, build_graph
from dfad_core.networks.onnx_graph.spec import Node

SHAPE = (3, 12, 12)
UNKNOWN = InputConfig(SHAPE)


def pictures(count: int = 128) -> Tensor:
    """Other images than an estimate draws, in [0, 1]."""
    source = LevelSets(SHAPE)
    z = torch.randn(count, source.latent_dim, generator=torch.Generator().manual_seed(9))
    return (0.4 + 0.25 * source(z)).clamp(0, 1)


def teacher(preprocess: Callable[[Tensor], Tensor], first: nn.Module | None = None) -> nn.Module:
    """A network whose BN statistics are those of `pictures` under `preprocess`."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        layers = [first or nn.Identity(), nn.Conv2d(3, 24, 3, padding=1), nn.BatchNorm2d(24, momentum=None)]
        net = nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 4))
        with torch.no_grad():
            net(preprocess(pictures()))
    return net.eval()


@pytest.mark.parametrize(
    ("preprocess", "low", "high"),
    [
        (lambda x: (x - 0.4) / 0.25, None, None),
        (lambda x: x, 0, 1),
        (lambda x: 255 * x, 0, 255),
        (lambda x: 255 * x - 120, None, None),
    ],
)
def test_the_first_batch_norm_tells_range_and_statistics(
    preprocess: Callable[[Tensor], Tensor], low: float | None, high: float | None
) -> None:
    images = preprocess(pictures())
    found = pixel_range(UNKNOWN, teacher(preprocess))
    assert found.source == "batch_norm"
    assert (found.low, found.high) == ((None if low is None else (low,) * 3), high and (high,) * 3)
    assert found.mean[0] == pytest.approx(float(images.mean()), abs=0.2 * float(images.std()))
    assert float(images.std()) / 1.6 < found.std[0] < float(images.std()) * 1.6


def test_a_batch_norm_behind_an_activation_chooses_among_usual_ranges() -> None:
    found = pixel_range(UNKNOWN, teacher(lambda x: 255 * x, nn.GELU()))
    assert (found.low, found.high) == ((0,) * 3, (255,) * 3)


def test_without_batch_norm_the_range_that_tells_classes_apart() -> None:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.AvgPool2d(6), nn.Flatten(), nn.Linear(12, 4)).eval()
    assert pixel_range(UNKNOWN, net).low is None
    with torch.no_grad():
        net[2].weight.div_(20)  # type: ignore[union-attr,operator]
    assert pixel_range(UNKNOWN, net).high == (255,) * 3


def test_what_the_config_names_comes_first_and_batch_norm_adds_to_a_range() -> None:
    net = teacher(lambda x: x)
    named = pixel_range(InputConfig(SHAPE, (0.5,) * 3, (0.2,) * 3), net)
    assert (named.source, named.std) == ("given", (1, 1, 1))
    raw = pixel_range(InputConfig(SHAPE, (0.0,) * 3, (1.0,) * 3), net)
    assert (raw.low, raw.high) == ((0,) * 3, (1,) * 3)
    assert raw.mean[0] == pytest.approx(float(pictures().mean()), abs=0.05)


def test_preprocessing_inside_a_graph_gives_the_raw_range() -> None:
    nodes = (
        Node("Sub", ("x", "m"), ("s",)),
        Node("Div", ("s", "d"), ("y",)),
        Node("GlobalAveragePool", ("y",), ("p",)),
        Node("Flatten", ("p",), ("logits",), {"axis": 1}),
    )
    constants = {"m": torch.tensor(110.0), "d": torch.tensor(60.0)}
    found = pixel_range(UNKNOWN, build_graph(Graph("x", "logits", nodes, 17), constants, SHAPE).module)
    assert found.source == "graph"
    assert found.low == pytest.approx((0, 0, 0), abs=0.1)
    assert found.high == pytest.approx((255,) * 3, rel=1e-3)
    assert found.mean == pytest.approx((110,) * 3, rel=1e-3)
    assert found.std == pytest.approx((60,) * 3, rel=1e-3)


def test_the_same_at_every_call_and_no_random_stream_is_used() -> None:
    net = teacher(lambda x: 255 * x)
    before = torch.get_rng_state()
    assert pixel_range(UNKNOWN, net) == pixel_range(UNKNOWN, net)
    assert torch.equal(before, torch.get_rng_state())
