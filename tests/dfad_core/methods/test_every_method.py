"""Every method plays on the same trainer: teacher untouched, gradients only where they belong."""

import dataclasses

import pytest
import torch
from torch import nn

from dfad_core.contract.config import DistillConfig, InputConfig, MethodConfig
from dfad_core.contract.errors import ConfigError
from dfad_core.contract.methods import METHODS
from dfad_core.contract.recipe import Recipe
from dfad_core.data import Batch
from dfad_core.methods import resolve_recipe
from dfad_core.networks.batch_norm import normalising_by_batch
from dfad_core.training import runtime
from dfad_core.training.run_state import RunState
from dfad_core.training.trainer import distill, generator_step, student_step

#: Short enough for a test; the catalogue's own counts are those of a real job.
SHORT = {"student_steps": 3, "inner_steps": 2, "pool_batches": 6}


def _ignore(name: str, value: torch.Tensor) -> None:
    """Records nothing."""


def _bits(module: nn.Module) -> list[torch.Tensor]:
    return [t.clone() for t in module.state_dict().values()]


def _same(module: nn.Module, before: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(module.state_dict().values(), before, strict=True))


@pytest.mark.parametrize("bn", [True, False], ids=["bn", "plain"])
@pytest.mark.parametrize("name", METHODS)
def test_a_whole_run_leaves_the_teacher_as_it_was(tiny, name: str, bn: bool) -> None:
    teacher, student = tiny.classifier(8, bn=bn), tiny.classifier(4, bn=bn, seed=1)
    taught, untaught = _bits(teacher), [p.detach().clone() for p in student.parameters()]
    result = distill(teacher, student, tiny.config(method={"name": name}, steps=3, **SHORT))
    assert result.steps == 3
    assert _same(teacher, taught)
    assert all(torch.isfinite(p).all() for p in result.student.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(student.parameters(), untaught, strict=True))
    assert all(0 <= v <= 1 for k, v in result.fidelity.items() if k.startswith("agreement"))


def _images(run: RunState) -> Batch:
    """A round's own batch, as the trainer makes it."""
    if run.generator_phase is not None:
        return generator_step(run, run.noise())[0]
    if run.search_phase is not None:
        return run.search_phase.step(run.noise(), run.objective, run.student, _ignore)
    return run.new_batch()


@pytest.mark.parametrize("name", METHODS)
def test_gradients_reach_only_the_network_of_the_phase(tiny, name: str) -> None:
    config = tiny.config(method={"name": name}, **SHORT)
    session = RunState(tiny.classifier(8), tiny.classifier(4, seed=1), None, config, runtime.resolve(config))
    session.clock.start()
    student = [p.detach().clone() for p in session.student.parameters()]
    source_grads = lambda: [  # noqa: E731
        p.grad for m in (session.teacher, session.student, session.objective.adapters) for p in m.parameters()
    ]
    batch = _images(session)
    assert source_grads() == [None] * len(source_grads())
    assert all(torch.equal(a, b) for a, b in zip(session.student.parameters(), student, strict=True))
    assert not batch.images_BCHW.requires_grad
    assert not batch.teacher_logits_BK.requires_grad
    for parameter in session.generator.parameters():
        parameter.grad = None
    student_step(session, batch, session.mixings(batch))
    assert all(p.grad is None for m in (session.teacher, session.generator) for p in m.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(session.student.parameters(), student, strict=True))


@pytest.mark.parametrize("name", METHODS)
def test_a_seed_decides_everything(tiny, name: str) -> None:
    def weights(seed: int) -> list[torch.Tensor]:
        config = tiny.config(method={"name": name}, steps=2, seed=seed, **SHORT)
        result = distill(tiny.classifier(8), tiny.classifier(4, seed=1), config)
        return [p.detach() for p in result.student.parameters()]

    first = weights(0)
    assert all(torch.equal(a, b) for a, b in zip(first, weights(0), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first, weights(1), strict=True))


def test_best_trains_a_generator_for_grey_images_and_bn_alone() -> None:
    def recipe(channels: int, *, bn: bool) -> Recipe:
        config = DistillConfig(InputConfig((channels, 8, 8)), method=MethodConfig("best"))
        return resolve_recipe(config, teacher_has_bn=bn)

    assert recipe(1, bn=True).source == "generator"
    assert recipe(1, bn=True).bn_weight > 0
    assert recipe(3, bn=True) == METHODS["collages"].recipe
    assert recipe(1, bn=False) == recipe(3, bn=False) == METHODS["collages"].recipe_without_bn


def test_methods_say_where_they_come_from_and_where_they_differ() -> None:
    for name, method in METHODS.items():
        own = name in ("best", "level_sets", "collages")
        assert "arXiv" in method.source + method.notes or name in (
            "best",
            "collages",
            "noise",
            "spaceshipnet",
        ), name
        assert own or "Differs" in method.notes or "inferred" in method.notes or name == "auto", name


def test_batch_statistics_are_those_of_the_batch_and_leave_no_trace(tiny) -> None:
    teacher = tiny.classifier(4).eval()
    before = _bits(teacher)
    x = 5 + 3 * torch.randn(16, 1, 8, 8)
    with normalising_by_batch(teacher):
        seen = teacher[1](teacher[0](x))
    assert seen.mean(dim=(0, 2, 3)).abs().max() < 5 * teacher[1].bias.abs().max() + 1e-4
    assert torch.allclose(seen.var(dim=(0, 2, 3), correction=0), teacher[1].weight.square(), rtol=1e-2)
    assert _same(teacher, before)
    assert not any(m.training for m in teacher.modules())
    assert all(m.track_running_stats for m in teacher.modules() if isinstance(m, nn.BatchNorm2d))


def test_the_meta_start_moves_by_its_own_optimizer_alone(tiny) -> None:
    config = tiny.config(method={"name": "fast"}, student_steps=1, inner_steps=3)
    session = RunState(tiny.classifier(8), tiny.classifier(4, seed=1), None, config, runtime.resolve(config))
    session.clock.start()
    before = [p.detach().clone() for p in session.generator.parameters()]
    _images(session)
    moved = [(a - b).abs().max() for a, b in zip(session.generator.parameters(), before, strict=True)]
    # Adam's first step is its rate: that of the search times its steps.
    assert max(moved).item() == pytest.approx(3 * 5e-3, rel=0.01)


def test_own_label_embeddings_must_fit(tiny) -> None:
    config = tiny.config(method={"name": "nayer"}, steps=1, **SHORT)
    with pytest.raises(ConfigError):
        distill(tiny.classifier(8), tiny.classifier(4), config, label_embeddings=torch.randn(3, 7))
    result = distill(
        tiny.classifier(8), tiny.classifier(4), config, label_embeddings=torch.randn(tiny.classes, 7)
    )
    assert result.steps == 1


def test_slices_give_the_gradient_of_the_whole_batch(tiny) -> None:
    """Without BN and batch terms an update in slices is the update of the whole batch."""

    def weights(parts: int) -> list[torch.Tensor]:
        config = tiny.config(method={"name": "dfad"}, steps=1, accumulation=parts, student_steps=1)
        config = dataclasses.replace(
            config, training=dataclasses.replace(config.training, student_optimizer="sgd")
        )
        teacher, student = tiny.classifier(8, bn=False), tiny.classifier(4, bn=False, seed=1)
        session = RunState(teacher, student, tiny.generator(), config, runtime.resolve(config))
        session.clock.start()
        batch = session.new_batch()
        student_step(session, batch, session.mixings(batch))
        return [p.detach().clone() for p in session.student.parameters()]

    for whole, sliced in zip(weights(1), weights(4), strict=True):
        torch.testing.assert_close(whole, sliced, rtol=1e-4, atol=1e-6)
