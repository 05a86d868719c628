"""A student that was shown one class is not offered as usable."""

import pytest

from dfad_core.evaluation.usability import LARGEST_SHARE, usability


def test_one_class_for_nearly_all_images_is_not_usable() -> None:
    verdict = usability([2, 0, 98, 0])
    assert not verdict.usable
    assert verdict.share == pytest.approx(0.98)
    assert verdict.reason is not None
    assert "class 2" in verdict.reason
    assert "98.0 %" in verdict.reason


def test_the_threshold_is_the_stated_one() -> None:
    at = round(100 * LARGEST_SHARE)
    assert not usability([at, 100 - at]).usable
    assert usability([at - 1, 101 - at]).usable


@pytest.mark.parametrize("counts", [None, [], [0, 0], [31, 0], [50, 50]])
def test_usable_where_classes_vary_or_too_little_was_seen(counts: list[int] | None) -> None:
    verdict = usability(counts)
    assert verdict.usable
    assert verdict.reason is None
