"""Each phase moves its own network, and no gradient is left anywhere else."""

import dataclasses
from collections.abc import Iterable

import pytest
import torch
from torch import nn

from dfad_core.networks.input_statistics import pixel_range
from dfad_core.training import runtime
from dfad_core.training.run_state import RunState
from dfad_core.training.trainer import generator_step, student_step, train_round


@pytest.fixture
def session(tiny) -> RunState:
    config = tiny.config(method={"name": "auto"})
    networks = tiny.classifier(8), tiny.classifier(4, seed=1), tiny.generator()
    made = RunState(*networks, config, runtime.resolve(config))
    made.clock.start()
    return made


def _weights(module: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def _moved(module: nn.Module, before: list[torch.Tensor]) -> bool:
    return any(not torch.equal(a, b) for a, b in zip(module.parameters(), before, strict=True))


def _gradients(*modules: nn.Module) -> list[torch.Tensor]:
    return [p.grad for module in modules for p in module.parameters() if p.grad is not None]


def _ignore(name: str, value: torch.Tensor) -> None:
    """Records nothing."""


def test_the_generator_phase_moves_the_generator_alone(session: RunState) -> None:
    student, generator = _weights(session.student), _weights(session.generator)
    adapters = _weights(session.objective.adapters)
    batch = generator_step(session, session.noise())[0]
    assert _moved(session.generator, generator)
    assert not _moved(session.student, student)
    assert not _moved(session.objective.adapters, adapters)
    assert _gradients(session.teacher, session.student, session.objective.adapters) == []
    assert not batch.images_BCHW.requires_grad
    assert not batch.teacher_logits_BK.requires_grad
    assert len(batch.active) == len(session.objective.adapters)


def test_the_student_phase_moves_student_and_adapters_alone(session: RunState) -> None:
    batch = session.new_batch()
    student, generator = _weights(session.student), _weights(session.generator)
    adapters = _weights(session.objective.adapters)
    student_step(session, batch, session.mixings(batch))
    assert _moved(session.student, student)
    assert _moved(session.objective.adapters, adapters)
    assert not _moved(session.generator, generator)
    assert _gradients(session.teacher, session.generator) == []


def test_nothing_requires_a_gradient_between_phases(session: RunState) -> None:
    train_round(session, _ignore)
    modules = (session.teacher, session.student, session.generator, session.objective.adapters)
    assert not any(p.requires_grad for module in modules for p in module.parameters())


def test_the_teacher_is_asked_once_for_each_image(tiny) -> None:
    config = tiny.config(method={"name": "best"})
    session = RunState(tiny.classifier(8), tiny.classifier(4, seed=1), None, config, runtime.resolve(config))
    session.clock.start()
    probed = session.queries.images
    asked: list[int] = []
    session.teacher.register_forward_hook(lambda module, inputs, output: asked.append(len(inputs[0])))
    for _ in range(3):
        train_round(session, _ignore)
    assert asked == [16, 16, 16]
    assert session.queries.images - probed == sum(asked)


def _asked(networks: Iterable[nn.Module | None]) -> list[int]:
    """A list to which every pass of the networks adds its number of images."""
    asked: list[int] = []
    for network in set(networks) - {None}:
        network.register_forward_pre_hook(lambda _network, inputs: asked.append(len(inputs[0])))
    return asked


@pytest.mark.parametrize("method", ["dfad", "cmi", "best"])
def test_queries_count_repeats_without_images_that_are_left_out(tiny, method: str) -> None:
    config = tiny.config(method={"name": method}, batch_size=64, inner_steps=2)
    run = RunState(tiny.classifier(8), tiny.classifier(4, seed=1), None, config, runtime.resolve(config))
    run.clock.start()
    asked = _asked([run.teacher, run.objective.labeller])
    first: list[float] = []

    def spoil(_teacher: nn.Module, inputs: tuple[torch.Tensor, ...], logits: torch.Tensor) -> torch.Tensor:
        """No finite answer to the first image of the first pass, however often it is shown."""
        sums_B = inputs[0].detach().sum(dim=(1, 2, 3))
        first[:] = first or [float(sums_B[0])]
        return torch.where(sums_B == first[0], torch.nan, 0.0)[:, None] + logits

    for network in {run.teacher, run.objective.labeller} - {None}:
        network.register_forward_hook(spoil)
    before = run.queries.images
    train_round(run, _ignore)
    assert run.guard.dropped == 1
    assert run.queries.images - before == sum(asked)


def test_queries_count_probes_of_the_range(tiny) -> None:
    teacher, config = tiny.classifier(8), tiny.config()
    run = RunState(teacher, tiny.classifier(4, seed=1), None, config, runtime.resolve(config))
    counted, asked = run.queries.images, _asked([teacher])
    run.close()
    pixel_range(config.input, teacher)
    assert counted == sum(asked) > 0


def test_queries_count_trials_of_threads(tiny) -> None:
    config = tiny.config(threads=0)
    two_threads = dataclasses.replace(runtime.resolve(config), threads=2)
    run = RunState(tiny.classifier(8), tiny.classifier(4, seed=1), None, config, two_threads)
    asked, before = _asked([run.teacher, run.objective.labeller]), run.queries.images
    assert run.thread_choice is not None
    with runtime.cpu_threads(1):
        run.thread_choice.try_first()
    assert run.queries.images - before == sum(asked) > 0


@pytest.mark.parametrize("method", ["dfad_ar", "spaceshipnet"])
def test_terms_on_stages_act_on_every_update(tiny, method: str) -> None:
    config = tiny.config(method={"name": method}, student_steps=4, inner_steps=2)
    run = RunState(tiny.classifier(8), tiny.classifier(4, seed=1), None, config, runtime.resolve(config))
    run.clock.start()
    images = run.queries.images

    def count(_module: nn.Module, inputs: tuple[torch.Tensor, ...], _output: torch.Tensor) -> None:
        nonlocal images
        images += len(inputs[0])

    for teacher in {run.teacher, run.objective.labeller}:
        teacher.register_forward_hook(count)
    term = "activation_boundary" if method == "dfad_ar" else "attention_transfer"
    values: list[torch.Tensor] = []
    for _ in range(2):
        train_round(run, lambda name, value: values.append(value) if name == term else None)
    assert len(values) == 2 * 4
    assert run.queries.images == images


def test_the_regularizer_decays_and_then_costs_no_pass(tiny) -> None:
    method = {"name": "best", "activation_weight": 1.0, "activation_decay": 0.5}
    config = tiny.config(method=method, steps=4, student_steps=2)
    run = RunState(tiny.classifier(8), tiny.classifier(4, seed=1), None, config, runtime.resolve(config))
    run.clock.start()
    asked, gaps = _asked([run.teacher, run.objective.labeller]), []
    rounds = []
    for _ in range(4):
        asked.clear(), gaps.clear()
        train_round(run, lambda name, value: gaps.append((name, value)))
        rounds.append(
            (run.objective.activation_factor, sum(n == "activation_boundary" for n, _ in gaps), len(asked))
        )
    assert [factor for factor, _, _ in rounds] == [1.0, 0.5, 0.0, 0.0]
    assert [terms for _, terms, _ in rounds] == [2, 2, 0, 0]
    assert rounds[1][2] > rounds[2][2]  # stages of a batch from the pool take a pass of their own
