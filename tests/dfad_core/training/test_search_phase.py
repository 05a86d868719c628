"""Searches: requested classes, the student's mode, images of least loss, and numbers that are not finite."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dfad_core.contract.config import InputConfig
from dfad_core.contract.errors import DivergedError
from dfad_core.methods.terms import GeneratorTerm, GeneratorView
from dfad_core.training import runtime
from dfad_core.training.finite_guard import FiniteGuard
from dfad_core.training.run_state import RunState
from dfad_core.training.trainer import train_round

SEARCHES = ("deepinversion", "cmi", "fast", "nayer", "spaceshipnet")


class Observer(GeneratorTerm):
    """A term of weight 1 that hands every view to a function, whose result is its gap."""

    name = "observer"

    def __init__(self, gap: Callable[[GeneratorView], Tensor | None]) -> None:
        self._gap = gap

    def value(self, view: GeneratorView) -> Tensor:
        gap = self._gap(view)
        return view.images_BCHW.sum() * 0 if gap is None else gap


class PartlyFinite(nn.Module):
    """Logits of another network; NaN for images whose first pixel lies between two limits."""

    def __init__(self, network: nn.Module, low: float, high: float) -> None:
        super().__init__()
        self.network, self.low, self.high = network, low, high

    def forward(self, images_BCHW: Tensor) -> Tensor:
        logits_BK: Tensor = self.network(images_BCHW)
        pixel_B = images_BCHW[:, 0, 0, 0]
        spoiled_B = (self.low < pixel_B) & (pixel_B < self.high)
        return logits_BK * torch.where(spoiled_B, torch.nan, 1.0)[:, None]


def ignore(name: str, value: Tensor) -> None:
    """Records nothing."""


@pytest.fixture(autouse=True)
def images_as_they_are(monkeypatch) -> None:
    """Views are not shifted, so that images may be recognised, and nothing draws from torch's own stream."""
    monkeypatch.setattr("dfad_core.training.search_phase.shifted", lambda images_BCHW: images_BCHW)


def start(
    tiny, name: str, *, teacher: nn.Module | None = None, input: InputConfig | None = None, **changes
) -> RunState:
    config = tiny.config(method={"name": name}, **{"inner_steps": 3, "student_steps": 1, **changes})
    config = dataclasses.replace(config, input=input or config.input)
    torch.manual_seed(0)  # the generator's weights
    run = RunState(
        teacher or tiny.classifier(8), tiny.classifier(4, seed=1), None, config, runtime.resolve(config)
    )
    run.clock.start()
    return run


def search(run: RunState):
    return run.search_phase.step(run.noise(), run.objective, run.student, ignore)


def observe(run: RunState, gap: Callable[[GeneratorView], Tensor | None], *, alone: bool = False) -> None:
    others = [] if alone else run.objective.generator_terms
    run.objective.generator_terms = [*others, (1.0, Observer(gap))]


@pytest.mark.parametrize("name", SEARCHES)
def test_requested_classes_go_on_from_round_to_round(tiny, name: str) -> None:
    requested: list[int] = []
    run = start(tiny, name, batch_size=2, inner_steps=1)
    observe(run, lambda view: requested.extend(view.classes_B.tolist()))
    for _ in range(tiny.classes):
        search(run)
    assert sorted(requested) == sorted([*range(tiny.classes)] * 2)


def test_a_resumed_search_goes_on_with_the_deck(tiny) -> None:
    run, resumed = start(tiny, "nayer", batch_size=3), start(tiny, "nayer", batch_size=3)
    search(run)
    resumed.load_state_dict(run.state_dict())
    requested: dict[str, list[Tensor]] = {"run": [], "resumed": []}
    for key, one in (("run", run), ("resumed", resumed)):
        observe(one, lambda view, key=key: requested[key].append(view.classes_B))
    first, second = search(run), search(resumed)
    assert torch.equal(requested["run"][0], requested["resumed"][0])
    assert torch.equal(first.images_BCHW, second.images_BCHW)


def test_a_batch_of_nayer_has_no_image_twice(tiny) -> None:
    batch = search(start(tiny, "nayer", batch_size=32))
    assert len(batch.images_BCHW.flatten(1).unique(dim=0)) == 32


@pytest.mark.parametrize("name", SEARCHES)
def test_the_student_is_in_eval_mode_and_its_statistics_stay(tiny, name: str) -> None:
    run = start(tiny, name)
    before = {key: value.clone() for key, value in run.student.state_dict().items()}
    modes: list[bool] = []
    observe(run, lambda _view: modes.append(any(m.training for m in run.student.modules())))
    search(run)
    assert modes == [False] * 3
    assert all(m.training for m in run.student.modules())
    assert all(torch.equal(value, before[key]) for key, value in run.student.state_dict().items())


@pytest.mark.parametrize("name", SEARCHES)
def test_the_images_of_least_loss_are_the_batch(tiny, name: str) -> None:
    run = start(tiny, name)
    seen: list[tuple[Tensor, Tensor]] = []
    slope = torch.randn(16, 1, 8, 8)  # so that the images differ from step to step

    def gap(view: GeneratorView) -> Tensor:
        seen.append((view.images_BCHW.detach(), view.teacher_logits_BK.detach()))
        return (view.images_BCHW * slope).mean() + (30.0, 10.0, 20.0)[len(seen) - 1]

    observe(run, gap, alone=True)
    batch = search(run)
    assert not torch.equal(batch.images_BCHW, seen[2][0])
    assert torch.equal(batch.images_BCHW, seen[1][0])
    assert torch.equal(batch.teacher_logits_BK, seen[1][1])


def test_a_common_start_learns_from_the_gradients_of_all_steps(tiny) -> None:
    run = start(tiny, "fast")
    before = [p.detach().clone() for p in run.generator.parameters()]
    slopes = iter((1.0, 0.0, 0.0))
    weighting = torch.randn(16, 1, 8, 8)
    observe(run, lambda view: (view.images_BCHW * weighting).sum() * next(slopes), alone=True)
    search(run)
    assert any(not torch.equal(a, b) for a, b in zip(run.generator.parameters(), before, strict=True))


@pytest.mark.parametrize("deferred", [False, True])
@pytest.mark.parametrize("name", SEARCHES)
def test_images_without_finite_logits_are_left_out(tiny, monkeypatch, name: str, deferred: bool) -> None:
    guard = functools.partial(FiniteGuard, deferred=deferred)
    monkeypatch.setattr("dfad_core.training.run_state.FiniteGuard", guard)
    pixel = search(start(tiny, name, batch_size=32, inner_steps=1)).images_BCHW[0, 0, 0, 0].item()
    teacher = PartlyFinite(tiny.classifier(8), pixel - 1e-4, pixel + 1e-4)  # the first image is spoiled
    run = start(tiny, name, teacher=teacher, batch_size=32)
    figures: list[Tensor] = []
    sizes = []
    for _ in range(2):
        batch = run.search_phase.step(
            run.noise(), run.objective, run.student, lambda _name, value: figures.append(value)
        )
        sizes.append(len(batch))
        assert torch.isfinite(batch.teacher_logits_BK).all()
        assert torch.isfinite(batch.images_BCHW).all()
    assert min(sizes) >= 28
    assert min(sizes) < 32 or deferred  # there the search begins again with another shift or other latents
    assert (run.guard.images, run.guard.dropped) == (64, 64 - sum(sizes))
    assert all(torch.isfinite(value).all() for value in figures)
    assert all(torch.isfinite(p).all() for p in run.generator.parameters())
    run.guard.raise_if_set()


def test_fitted_drawings_are_legal_and_near_their_classes(tiny) -> None:
    run = start(tiny, "collages", batch_size=32, input=InputConfig((1, 8, 8), mean=(0.5,), std=(0.25,)))
    drawn: list[Tensor] = []
    classes: list[Tensor] = []

    def gap(view: GeneratorView) -> Tensor:
        drawn.append(view.images_BCHW.detach().clone())
        classes.append(view.classes_B)
        return 1e6 * view.images_BCHW.mean()

    observe(run, gap, alone=True)
    batch = search(run)
    assert -2 <= batch.images_BCHW.min() < batch.images_BCHW.max() <= 2  # black and white
    assert not torch.equal(batch.images_BCHW, drawn[0])
    counts = classes[0].bincount(minlength=tiny.classes)
    assert counts.max() - counts.min() <= 1
    answers = run.objective.teacher_logits(drawn[0]).argmax(1)
    assert (answers == classes[0]).float().mean() > 1 / tiny.classes


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_ends_the_run_where_fewer_than_two_images_remain(tiny, name: str) -> None:
    teacher = PartlyFinite(tiny.classifier(8), -1000.0, 1000.0)
    with pytest.raises(DivergedError):
        search(start(tiny, name, teacher=teacher))


def test_a_loss_that_is_not_finite_ends_the_run_though_the_logits_are(tiny) -> None:
    run = start(tiny, "cmi")
    observe(run, lambda view: view.images_BCHW.sum() * torch.inf)
    with pytest.raises(DivergedError):
        search(run)


@pytest.mark.parametrize("deferred", [False, True])
def test_many_images_without_finite_logits_end_the_search_with_the_images_until_then(
    tiny, monkeypatch, deferred: bool
) -> None:
    guard = functools.partial(FiniteGuard, deferred=deferred)
    monkeypatch.setattr("dfad_core.training.run_state.FiniteGuard", guard)
    teacher = PartlyFinite(tiny.classifier(8), torch.inf, torch.inf)
    run = start(tiny, "spaceshipnet", teacher=teacher)
    steps: list[Tensor] = []

    def gap(view: GeneratorView) -> None:
        steps.append(view.images_BCHW.detach())
        teacher.low = -torch.inf if len(steps) % 3 == 1 else torch.inf  # all images of the second step

    observe(run, gap)
    before = [p.detach().clone() for p in run.generator.parameters()]
    batch = search(run)
    assert len(batch) == 16
    assert torch.isfinite(batch.teacher_logits_BK).all()
    assert torch.equal(batch.images_BCHW, steps[0])
    moved = [(a - b).abs().max() for a, b in zip(run.generator.parameters(), before, strict=True)]
    assert 0 < max(moved) <= 1.01 * 3 * run.recipe.search_rate
    run.guard.raise_if_set()


@pytest.mark.parametrize("name", ["cmi", "fast", "nayer"])
def test_views_are_fitted_and_the_images_themselves_are_kept(tiny, monkeypatch, name: str) -> None:
    run, seen = start(tiny, name), []
    monkeypatch.setattr("dfad_core.training.search_phase.shifted", lambda images: images + 100)
    observe(run, lambda view: seen.append(float(view.images_BCHW.detach().min())), alone=True)
    batch = search(run)
    assert len(seen) == 3
    assert min(seen) > 50
    assert batch.images_BCHW.max() < 50


@pytest.mark.parametrize("name", ["fast", "nayer"])
def test_the_student_waits_in_the_warm_up(tiny, name: str) -> None:
    """Images of its rounds are fitted without it and go to the pool; its rate begins after it."""
    run, needed = start(tiny, name, steps=22, inner_steps=1), []
    observe(run, lambda _: needed.append(run.objective.needs_student))
    before = {key: tensor.clone() for key, tensor in run.student.state_dict().items()}
    rates = []
    for number in range(4):
        train_round(run, ignore)
        rates.append(run.student_phase.rate)
        after = run.student.state_dict()
        is_same = all(torch.equal(tensor, after[key]) for key, tensor in before.items())
        assert is_same == (number < 2)  # the first eleventh
        assert len(run.pool) == number + 1
    assert needed == [False, False, True, True]
    assert rates[2] < rates[3]
