"""Preprocessing says where possible images lie in the teacher's input space."""

import pytest
import torch

from dfad_core.networks.pixel_range import (
    PixelRange,
    preprocessed_range,
    sigmoid_coefficients,
    standardised,
    white_level,
)


@pytest.mark.parametrize(
    ("mean", "std", "white"),
    [
        ((0.49, 0.48, 0.45), (0.25, 0.24, 0.26), 1),
        ((0.0,), (1.0,), 1),
        ((0.0,), (1 / 255,), 1),
        ((0.5,), (0.5,), 1),
        ((4.0,), ((0.25 * 0.75 * 16**2) ** 0.5,), 16),  # a quarter of the pixels at 16, the others at 0
        ((4.89,), (6.02,), 16),
        ((123.7, 116.3, 103.5), (58.4, 57.1, 57.4), 255),
        ((123.7, 116.3, 103.5), (1.0, 1.0, 1.0), 255),
        ((127.5,), (127.5,), 255),
        ((0.0,), (255.0,), 255),
    ],
)
def test_the_white_level_fits_the_preprocessing(
    mean: tuple[float, ...], std: tuple[float, ...], white: float
) -> None:
    assert white_level(mean, std) == white


def test_a_data_sets_own_preprocessing_gives_range_and_statistics() -> None:
    pixels = preprocessed_range((0.2, 0.4), (0.25, 0.2), "given")
    assert pixels is not None
    assert pixels.low == pytest.approx((-0.8, -2))
    assert pixels.high == pytest.approx((3.2, 3))
    assert (pixels.mean, pixels.std, pixels.statistics) == ((0, 0), (1, 1), True)
    assert pixels.brightness == pytest.approx(0.3)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.5, 0.5), (120.0, 1.0)])
def test_a_convention_gives_the_range_alone(mean: float, std: float) -> None:
    pixels = preprocessed_range((mean,), (std,), "given")
    assert pixels is not None
    assert not pixels.statistics
    assert pixels.low is not None
    assert pixels.high is not None
    assert pixels.low[0] < pixels.mean[0] < pixels.high[0]
    assert pixels.std[0] == pytest.approx((pixels.high[0] - pixels.low[0]) / 4)


def test_a_negative_mean_tells_no_range() -> None:
    assert preprocessed_range((-0.1,), (1.0,), "given") is None


def test_images_are_placed_and_cut_off_at_black_and_white() -> None:
    images = torch.tensor([-100.0, 0.0, 100.0]).reshape(3, 1, 1, 1)
    bounded = PixelRange((120.0,), (60.0,), (0.0,), (255.0,))
    assert bounded.place(images).flatten().tolist() == [0, 120, 255]
    assert PixelRange((2.0,), (3.0,)).place(images).flatten().tolist() == [-298, 2, 302]
    assert torch.equal(standardised(1).place(images), images)


@pytest.mark.parametrize(("mean", "std"), [(0.13, 0.3), (0.3, 0.376), (0.48, 0.23), (0.5, 0.25)])
def test_the_sigmoid_gives_mean_and_deviation(mean: float, std: float) -> None:
    pixels = PixelRange((mean, 255 * mean), (std, 255 * std), (0.0, 0.0), (1.0, 255.0))
    factor, summand = sigmoid_coefficients(pixels)
    n = torch.randn(200_000, generator=torch.Generator().manual_seed(0)).expand(2, 1, -1)
    values = torch.sigmoid(factor * n + summand).flatten(1)
    assert values.mean(1).tolist() == pytest.approx([mean] * 2, abs=0.01)
    assert values.std(1).tolist() == pytest.approx([std] * 2, abs=0.01)
