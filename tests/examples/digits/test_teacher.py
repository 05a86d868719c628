"""The demo's teacher is as good as its file and its page say."""

from pathlib import Path

import torch

from dfad_core.evaluation.accuracy import accuracy
from dfad_core.formats import load_teacher
from examples.digits.data import MEAN, STD, digits
from examples.digits.train_teacher import TEACHER


def test_its_accuracy_is_the_one_it_claims() -> None:
    teacher = load_teacher(TEACHER)
    _, (x, y) = digits()
    found = accuracy(teacher.module, x, y)
    assert found >= 0.98
    page = (Path(TEACHER).parent / "README.md").read_text(encoding="utf-8")
    assert f"{100 * found:.1f} %" in page
    assert TEACHER.stat().st_size < 1_000_000


def test_it_says_how_to_feed_it() -> None:
    teacher = load_teacher(TEACHER)
    assert teacher.input.shape == (1, 8, 8)
    # The file's mean and deviation are those of pixels from 0 to 1; the source's run from 0 to 16.
    assert teacher.input.mean == (MEAN / 16,)
    assert teacher.input.std == (STD / 16,)


def test_the_split_holds_a_third_back_and_repeats() -> None:
    (train, train_labels), (held_out, labels) = digits()
    assert len(held_out) == 599
    assert len(train) == len(train_labels) == 1198
    assert torch.equal(digits()[1][0], held_out)
    assert abs(float(train.mean())) < 1e-3
    assert abs(float(train.std()) - 1) < 1e-3
    assert set(labels.tolist()) == set(range(10))
    seen = {image.numpy().tobytes() for image in train}
    assert not any(image.numpy().tobytes() in seen for image in held_out)
