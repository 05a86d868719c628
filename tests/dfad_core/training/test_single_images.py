"""Students of single images of the pool, and students that begin with their teacher's weights."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch

from dfad_core.contract.methods import METHODS
from dfad_core.contract.recipe import FIRST_BATCHES
from dfad_core.data import Batch, Pool, Streams
from dfad_core.hooks import DistillResult, Hooks
from dfad_core.methods import resolve_recipe
from dfad_core.training import runtime
from dfad_core.training.run_state import RunState
from dfad_core.training.single_images import SingleImages
from dfad_core.training.trainer import Gaps, distill, train_round


@pytest.mark.parametrize("bn", [True, False])
def test_the_pool_is_filled_first_and_views_are_labelled(tiny, *, bn: bool) -> None:
    for pool_batches, filled in ((4, 4), (FIRST_BATCHES + 2, FIRST_BATCHES)):
        config = tiny.config(
            method={"name": "collages"}, steps=12, pool_batches=pool_batches, student_steps=10, inner_steps=2
        )
        recipe = resolve_recipe(config, teacher_has_bn=bn)
        history = distill(tiny.classifier(4, bn=bn), tiny.classifier(3, seed=1), config).history
        queries = [report["teacher_queries"] / config.training.batch_size for report in history]
        new = 1 + (1 + 2 if bn else 0)  # its statistics, its classes, and the steps
        added = [after - before for before, after in pairwise(queries)]
        expected = [recipe.labelled_batches] * 11
        expected[recipe.images_every - 1] += new
        assert added == expected
        assert queries[0] >= filled + recipe.labelled_batches  # and probes of the range of pixels


class _Checkpoints(Hooks):
    def __init__(self) -> None:
        self.of_step: dict[int, bytes] = {}

    def checkpoint(self, step: int, data: bytes) -> None:
        self.of_step[step] = data


def test_a_run_resumed_between_two_rounds_with_new_images_ends_as_the_undisturbed_one(tiny) -> None:
    config = tiny.config(method={"name": "collages"}, steps=14, precision="bfloat16", checkpoint_seconds=1e-9)
    hooks = _Checkpoints()

    def weights(resume: bytes | None = None) -> dict[str, torch.Tensor]:
        networks = tiny.classifier(4, bn=False), tiny.classifier(3, seed=1)
        result = distill(*networks, config, Hooks() if resume else hooks, resume=resume)
        return {name: tensor.clone() for name, tensor in result.student.state_dict().items()}

    undisturbed = weights()
    assert hooks.of_step
    for data in hooks.of_step.values():
        resumed = weights(data)
        assert all(torch.equal(resumed[name], tensor) for name, tensor in undisturbed.items())


def test_a_pool_that_lost_images_is_filled_again_in_any_round(tiny) -> None:
    config = tiny.config(method={"name": "collages"}, steps=3, pool_batches=4)
    run = RunState(
        tiny.classifier(4, bn=False), tiny.classifier(3, seed=1), None, config, runtime.resolve(config)
    )
    run.clock.start()
    train_round(run, lambda *_: None)
    run.pool.load_state_dict(Pool(4).state_dict(), torch.device("cpu"), torch.float32)
    train_round(run, lambda *_: None)
    assert len(run.pool) == 4


class _Signs(Hooks):
    def __init__(self) -> None:
        self.count = 0

    def should_stop(self) -> None:
        self.count += 1


def test_a_long_round_gives_signs_of_life(tiny, monkeypatch) -> None:
    monkeypatch.setattr("dfad_core.training.trainer.evaluate", lambda *_: None)
    counts = []
    for seconds in (1000.0, 0.0):
        monkeypatch.setattr("dfad_core.training.trainer.SIGN_SECONDS", seconds)
        config = tiny.config(
            method={"name": "collages"}, steps=1, pool_batches=6, inner_steps=4, student_steps=3
        )
        hooks = _Signs()
        distill(tiny.classifier(4), tiny.classifier(3, seed=1), config, hooks)
        counts.append(hooks.count)
    # Batches of drawings until the pool is full, steps of the search, updates of the student.
    assert counts[1] - counts[0] == 5 + 4 + 3


def test_a_labelled_batch_serves_several_updates(tiny, monkeypatch) -> None:
    shown: list[torch.Tensor] = []
    monkeypatch.setattr(
        "dfad_core.training.trainer.student_step",
        lambda _run, batch, _mixings: shown.append(batch.images_BCHW) or Gaps(),
    )
    rows = dict(METHODS)
    rows["collages"] = dataclasses.replace(
        rows["collages"],
        recipe_without_bn=dataclasses.replace(rows["collages"].recipe_without_bn, view_uses=3),
    )
    monkeypatch.setattr("dfad_core.contract.methods.METHODS", rows)
    config = tiny.config(method={"name": "collages"}, steps=1, student_steps=14)
    assert resolve_recipe(config, teacher_has_bn=False).labelled_batches == 6
    distill(tiny.classifier(4, bn=False), tiny.classifier(3, seed=1), config)
    numbers = [next(n for n, other in enumerate(shown) if other is images) for images in shown]
    assert numbers == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 12, 13]


def test_batches_of_level_sets_are_chosen_from_like_the_others(tiny) -> None:
    method = {"name": "collages", "level_set_batches": 1}
    result = distill(tiny.classifier(4), tiny.classifier(3, seed=1), tiny.config(method=method, steps=3))
    assert result.steps == 3


def test_views_show_the_chosen_images_alone(tiny) -> None:
    class Choice:
        def shares(self, statistics_ND: torch.Tensor) -> np.ndarray:
            return (statistics_ND[:, 0] == 1).numpy() / 2

    pool = Pool(4)
    for value in (1.0, -1.0):
        images = torch.full((2, 1, 8, 8), value)
        pool.push(Batch(images, torch.zeros(2, 3), statistics_BD=torch.full((2, 1), value)))
    images = SingleImages(pool, None, Streams(0, torch.device("cpu")), 32)
    assert {-1.0, 1.0} <= set(images.views().flatten().tolist())
    images = SingleImages(pool, Choice(), Streams(0, torch.device("cpu")), 32)
    images.choose()
    torch.testing.assert_close(images.views(), torch.ones(32, 1, 8, 8))


def test_whole_views_are_the_images_or_mixtures_of_two() -> None:
    pool = Pool(1)
    pool.push(Batch(torch.arange(8.0).reshape(8, 1, 1, 1).expand(8, 1, 8, 8).bfloat16(), torch.zeros(8, 3)))
    streams = Streams(0, torch.device("cpu"))
    whole = SingleImages(pool, None, streams, 64, kind="whole").views()
    assert set(whole.flatten().tolist()) == set(range(8))
    mixed = SingleImages(pool, None, streams, 64, kind="whole", mixed_share=0.5).views()
    assert torch.equal(mixed[32:], mixed[32:].round())
    assert not torch.equal(mixed[:32], mixed[:32].round())


def _start(result: DistillResult) -> dict[str, int]:
    (note,) = [event for event in result.events if event["kind"] == "student_start"]
    return note


def test_a_note_says_what_the_student_began_with(tiny) -> None:
    config = tiny.config(method={"name": "collages"}, steps=1)
    note = _start(distill(tiny.classifier(4), tiny.classifier(4, seed=1), config))
    assert note["tensors"] == note["of"] > 0
    assert _start(distill(tiny.classifier(4), tiny.classifier(3, seed=1), config))["tensors"] == 0


def test_the_setting_keeps_the_students_own_weights(tiny) -> None:
    rates = {"student_learning_rate": 1e-9, "weight_decay": 0.0}
    for start_from_teacher in (True, False):
        method = {"name": "collages", "start_from_teacher": start_from_teacher}
        teacher, student = tiny.classifier(4), tiny.classifier(4, seed=1)
        begun_with = (teacher if start_from_teacher else student)[0].weight.detach().clone()
        distill(teacher, student, tiny.config(method=method, steps=1, **rates))
        torch.testing.assert_close(student[0].weight.detach(), begun_with)
