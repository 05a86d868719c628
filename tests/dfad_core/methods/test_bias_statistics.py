"""Statistics that were folded away are estimated from biases and drawn images, and training goes by them."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from dfad_core.contract.config import InputConfig
from dfad_core.contract.methods import METHODS
from dfad_core.hooks import Hooks
from dfad_core.losses.bn_statistics import bn_divergence
from dfad_core.methods.bias_statistics import (
    LEAST_IMAGES,
    MOST_IMAGES,
    estimated_statistics,
    number_of_images,
)
from dfad_core.networks import build_classifier
from dfad_core.networks.batch_norm import bn_layers, recalibrate
from dfad_core.networks.folding import folded
from dfad_core.networks.pixel_range import preprocessed_range
from dfad_core.networks.refolding import unfolded_layers
from dfad_core.networks.unfolding import drawn_images, unfolded
from dfad_core.training import runtime
from dfad_core.training.run_state import RunState
from dfad_core.training.trainer import distill, new_images

SHAPE = (3, 16, 16)
INPUT = InputConfig(SHAPE, mean=(0.5,) * 3, std=(0.25,) * 3)
PIXELS = preprocessed_range((0.5,) * 3, (0.25,) * 3, "given")


def images(count: int, seed: int) -> torch.Tensor:
    return drawn_images(SHAPE, PIXELS, torch.device("cpu"), count, seed)


@pytest.fixture
def teacher() -> nn.Module:
    """With the statistics of a part of the drawn images: bright ones, mostly red."""
    torch.manual_seed(0)
    module = build_classifier("resnet8", num_classes=5, input_shape=SHAPE)
    drawn = images(1024, 99)
    redness = drawn[:, 0].mean((1, 2)) - 0.5 * drawn[:, 1:].mean((1, 2, 3))
    recalibrate(module, [drawn[redness.argsort(descending=True)[:256]]])
    return module.eval().requires_grad_(False)


def test_shares_bring_the_statistics_near_to_those_of_the_data(teacher: nn.Module) -> None:
    true = [(layer.bias, layer.weight.square()) for layer in bn_layers(teacher)]
    network = unfolded(folded(teacher, images(2, 0)), images(64, 0))
    assert network is not None

    def distance(statistics: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
        pairs = zip(statistics, true, strict=True)
        return float(bn_divergence([(mean, var, *stored) for (mean, var), stored in pairs]))

    equal = distance([layer.statistics for layer in unfolded_layers(network)])
    estimated = distance(estimated_statistics(network, [images(128, seed) for seed in range(8)]))
    assert estimated < 0.5 * equal


def test_the_number_of_images_follows_from_the_cost(teacher: nn.Module) -> None:
    network = unfolded(folded(teacher, images(2, 0)), images(64, 0))
    assert network is not None
    assert number_of_images(network, 1000, SHAPE) == MOST_IMAGES
    assert number_of_images(network, 6 * 10**7, SHAPE) == 1000
    assert number_of_images(network, 1000, (3, 128, 128)) == 406
    assert number_of_images(network, 10**12, (3, 224, 224)) == LEAST_IMAGES


@pytest.fixture
def few_images(monkeypatch: pytest.MonkeyPatch) -> int:
    """How many images a run draws at most."""
    monkeypatch.setattr("dfad_core.methods.bias_statistics.MOST_IMAGES", LEAST_IMAGES)
    return LEAST_IMAGES


class _Checkpoints(Hooks):
    def __init__(self) -> None:
        self.newest = b""

    def checkpoint(self, _step: int, data: bytes) -> None:
        self.newest = data


@pytest.mark.parametrize("method", ["best", "fast"])
def test_a_run_has_the_recipe_for_batch_norm(tiny, teacher: nn.Module, method: str, few_images: int) -> None:
    config = dataclasses.replace(tiny.config(method={"name": method}), input=INPUT)
    student = build_classifier("resnet8", num_classes=5, input_shape=SHAPE)
    given = folded(teacher, images(2, 0))
    run = RunState(given, student, None, config, runtime.resolve(config))
    assert run.recipe.bn_weight == METHODS[method].recipe_for(teacher_has_bn=True, channels=3).bn_weight > 0
    assert any(term.name == "bn_statistics" for _, term in run.objective.generator_terms)
    assert not bn_layers(given)
    assert not bn_layers(run.objective.labeller)
    assert run.queries.images >= few_images
    assert run.inherited == (9 if method == "best" else 0)


@pytest.mark.usefixtures("few_images")
def test_a_resumed_run_ends_as_the_undisturbed_one(tiny, teacher: nn.Module, monkeypatch) -> None:
    config = tiny.config(method={"name": "collages"}, steps=3, checkpoint_seconds=1e-9)
    config = dataclasses.replace(config, input=INPUT)
    hooks, given = _Checkpoints(), folded(teacher, images(2, 0))
    monkeypatch.setattr("dfad_core.training.trainer.REFINED_AFTER", (1,))

    def weights(hooks: Hooks, resume: bytes | None = None) -> dict[str, torch.Tensor]:
        torch.manual_seed(1)
        student = build_classifier("resnet8", num_classes=5, input_shape=SHAPE)
        return distill(given, student, config, hooks, resume=resume).student.state_dict()

    undisturbed = weights(hooks)
    monkeypatch.setattr(
        "dfad_core.training.teacher_with_bn.estimated_statistics", lambda *_: pytest.fail("estimated again")
    )
    monkeypatch.setattr(RunState, "refine_statistics", lambda _: pytest.fail("refined again"))
    resumed = weights(Hooks(), hooks.newest)
    assert all(torch.equal(resumed[name], tensor) for name, tensor in undisturbed.items())


def test_images_without_finite_answers_do_not_count(teacher: nn.Module) -> None:
    network = unfolded(folded(teacher, images(2, 0)), images(64, 0))
    wanted = estimated_statistics(network, [images(64, 1)])
    broken = torch.cat([images(64, 1), torch.full((1, *SHAPE), torch.inf)])
    for one, other in zip(wanted, estimated_statistics(network, [broken]), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.usefixtures("few_images")
def test_statistics_are_refined_from_the_pool(tiny, teacher: nn.Module) -> None:
    config = dataclasses.replace(tiny.config(method={"name": "collages"}, steps=2), input=INPUT)
    student = build_classifier("resnet8", num_classes=5, input_shape=SHAPE)
    run = RunState(folded(teacher, images(2, 0)), student, None, config, runtime.resolve(config))
    try:
        new_images(run, lambda *_: None)
        before, drawn = run.pool.statistics_ND, [layer.statistics for layer in unfolded_layers(run.teacher)]
        queries = run.queries.images
        run.refine_statistics(9)
        assert run.queries.images == queries + 3 * len(run.pool) * run.batch_size
        views = [
            v for b in run.pool.recent(9) for v in (b.images_BCHW.float(), b.images_BCHW.float().flip(-1))
        ]
        wanted = estimated_statistics(run.teacher, views)
        for layer, old, new in zip(unfolded_layers(run.teacher), drawn, wanted, strict=True):
            torch.testing.assert_close(layer.statistics, new)
            assert not torch.allclose(layer.statistics[0], old[0])
        assert not torch.allclose(run.pool.statistics_ND, before)
    finally:
        run.close()
