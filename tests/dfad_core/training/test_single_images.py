"""Students of single images of the pool, and students that begin with their teacher's weights."""

import numpy as np
import torch

from dfad_core.data import Batch, Pool, Streams
from dfad_core.hooks import DistillResult
from dfad_core.training.single_images import FIRST_BATCHES, SingleImages
from dfad_core.training.trainer import distill


def test_the_pool_is_filled_first_and_every_view_is_labelled(tiny) -> None:
    for pool_batches, filled in ((4, 4), (FIRST_BATCHES + 2, FIRST_BATCHES)):
        config = tiny.config(method={"name": "collages"}, steps=3, pool_batches=pool_batches)
        history = distill(tiny.classifier(4), tiny.classifier(3, seed=1), config).history
        first, second, third = (report["teacher_queries"] / config.training.batch_size for report in history)
        assert second - first == third - second == 1 + config.training.student_steps
        assert first >= filled + config.training.student_steps  # and probes of the range of pixels


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
