from pathlib import Path

import pytest
import torch
from torch import nn

import dfad_core
from dfad_core.contract.evaluation_plan import SHARES, judge_images
from dfad_core.evaluation import families
from dfad_core.evaluation.diversity import sample_distance
from dfad_core.evaluation.held_out import held_out_images
from dfad_core.evaluation.judge_images import JudgeImages, in_batches, judge_sets, surest
from dfad_core.networks.drawings.canvas import Canvas
from dfad_core.networks.pixel_range import preprocessed_range, standardised

FAMILIES = [family for family, _ in JudgeImages.families]
SHAPE = (1, 8, 8)
PIXELS = standardised(1)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 9), (4, 8, 20), (3, 64, 48)])
def test_every_family_draws_varied_images_of_any_shape(family, shape) -> None:
    images = family(Canvas(32, *shape, torch.Generator().manual_seed(0)))
    assert images.shape == (32, *shape)
    assert torch.isfinite(images).all()
    assert 0 <= images.min() <= images.max() <= 1
    assert sample_distance(images) > 0.1
    assert torch.equal(images, family(Canvas(32, *shape, torch.Generator().manual_seed(0))))
    assert (images.flatten(1).std(dim=1) > 1e-3).double().mean() > 0.8, "nearly all show something"


def test_no_training_code_knows_the_judges_families() -> None:
    root = Path(dfad_core.__file__).parent
    own = {family.__name__ for family in FAMILIES}
    assert own == {"strokes", "cells", "plaids", "weaves", "fractals"}
    for room in ("networks", "methods", "data"):
        for path in (root / room).rglob("*.py"):
            assert families.__name__ not in path.read_text(), path
    for path in (root / "training").rglob("*.py"):
        text = path.read_text()
        assert "judge_images" not in text, path
        assert families.__name__ not in text, path


def test_images_follow_from_the_teacher_alone_and_have_its_range(tiny) -> None:
    teacher = tiny.classifier(4).eval()
    pixels = preprocessed_range((0.2,), (0.3,), "given")
    first, second = (judge_sets(teacher, SHAPE, pixels, 32) for _ in range(2))
    assert {name: len(asked.images_BCHW) for name, asked in first.items()} == judge_images(32)
    assert set(first) == set(SHARES)
    for name, asked in first.items():
        assert torch.equal(asked.images_BCHW, second[name].images_BCHW)
        assert float(asked.images_BCHW.min()) >= -0.2 / 0.3 - 1e-4
        assert float(asked.images_BCHW.max()) <= 0.8 / 0.3 + 1e-4
        torch.testing.assert_close(asked.teacher_BK, in_batches(teacher, asked.images_BCHW))


def test_what_was_approached_is_surer_of_its_class(tiny) -> None:
    teacher = tiny.classifier(8).eval()
    sets = judge_sets(teacher, SHAPE, PIXELS, 64)
    before, after = sets["chosen"].teacher_BK[::2], sets["approached"].teacher_BK
    classes = before.argmax(1)[:, None]
    assert (after.softmax(1).gather(1, classes) >= before.softmax(1).gather(1, classes)).double().mean() > 0.9
    assert not any(parameter.grad is not None for parameter in teacher.parameters())


def test_the_surest_of_every_class_come_first() -> None:
    logits = torch.tensor([[3.0, 0], [2, 0], [1, 0], [0, 5], [4, 0]])
    assert surest(logits, 2).tolist() == [3, 4]
    assert surest(logits, 3).tolist() == [3, 4, 0]
    assert surest(logits, 9).tolist() == [3, 4, 0, 1, 2]


def test_held_out_images_alternate_and_are_not_those_of_the_judge(tiny) -> None:
    class Ones(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Parameter(torch.ones(1))

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return self.one.expand(len(z), *SHAPE)

    images = held_out_images(SHAPE, 3, Ones(), 2)
    assert images.shape == (256, *SHAPE)
    assert (images[::2] == 1).all()
    assert not (images[1::2] == 1).all()
    drawn = judge_sets(tiny.classifier(4).eval(), SHAPE, PIXELS, 64)["drawn"].images_BCHW
    alone = held_out_images(SHAPE, 3, None, 0)
    assert torch.equal(alone, held_out_images(SHAPE, 3, None, 0))
    assert not any((drawn == image).all() for image in alone[:8])


class SometimesNaN(nn.Module):
    """The answer is NaN for images that are brighter than `limit` on average."""

    def __init__(self, network: nn.Module, limit: float) -> None:
        super().__init__()
        self.network, self.limit = network, limit

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (
            self.network(images) + torch.where(images.mean((1, 2, 3)) > self.limit, torch.nan, 0.0)[:, None]
        )


def test_images_without_a_finite_answer_are_left_out(tiny) -> None:
    network = tiny.classifier(4).eval()
    drawn = JudgeImages(SHAPE, PIXELS)(torch.randn(256, 1)).mean((1, 2, 3))
    sets = judge_sets(SometimesNaN(network, float(drawn.quantile(0.95))), SHAPE, PIXELS, 64)
    counts = judge_images(64)
    assert len(sets["drawn"].images_BCHW) == counts["drawn"]
    for name, asked in sets.items():
        assert 0.5 * counts[name] < len(asked.images_BCHW) <= counts[name]
        assert asked.teacher_BK.isfinite().all()
        assert asked.images_BCHW.isfinite().all()
    assert judge_sets(SometimesNaN(network, float(drawn.quantile(0.5))), SHAPE, PIXELS, 64) == {}


class NoGradient(nn.Module):
    """Finite answers, and gradients that are not: a square root at 0."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images) + (0 * images).sum((1, 2, 3)).sqrt()[:, None]


class Steps(nn.Module):
    """Its answers have no gradient."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network((images > 0).to(images.dtype))


@pytest.mark.parametrize("kind", [NoGradient, Steps])
def test_a_teacher_without_finite_gradients_has_no_judge(tiny, kind: type[nn.Module]) -> None:
    teacher = kind(tiny.classifier(4)).eval().requires_grad_(False)
    assert judge_sets(teacher, SHAPE, PIXELS, 32) == {}
