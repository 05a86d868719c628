"""The generator: any size, normalised images."""

import pytest
import torch

from dfad_core.networks.generator import Generator
from dfad_core.networks.pixel_range import PixelRange, preprocessed_range

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (4, 24, 40), (2, 33, 17), (3, 96, 80)]


@pytest.mark.parametrize("shape", SHAPES)
def test_images_have_the_shape_and_the_scale(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    images = Generator(10, 4, shape)(torch.randn(16, 10))
    assert images.shape == (16, *shape)
    assert images.dtype == torch.float32
    assert images.mean((0, 2, 3)).abs().max() < 1e-4
    assert (images.var((0, 2, 3), correction=0) - 1).abs().max() < 1e-2


def test_float32_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert Generator(10, 4, (1, 8, 8))(torch.randn(4, 10)).dtype == torch.float32


def test_every_parameter_learns() -> None:
    torch.manual_seed(0)
    generator = Generator(10, 4, (3, 16, 24))
    (generator(torch.randn(8, 10)) * torch.randn(8, 3, 16, 24)).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in generator.parameters())


@pytest.mark.parametrize(
    ("mean", "std"), [((0.3,), (0.376,)), ((0.0,), (1.0,)), ((0.49, 0.48, 0.45), (0.25, 0.24, 0.26))]
)
def test_every_image_is_a_possible_picture(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    torch.manual_seed(0)
    shape = (len(mean), 16, 16)
    generator = Generator(10, 4, shape, preprocessed_range(mean, std, "given"))
    with torch.no_grad():
        generator.to_image.weight.mul_(100)  # as far as training may take it
    images = generator(torch.randn(64, 10))
    pixels = images.movedim(1, -1) * torch.tensor(std) + torch.tensor(mean)
    assert pixels.min() >= -1e-5
    assert pixels.max() <= 1 + 1e-5
    assert pixels.std() > 0.15


def test_images_have_the_statistics_of_the_preprocessing() -> None:
    torch.manual_seed(0)
    generator = Generator(10, 8, (3, 16, 16), preprocessed_range((0.4,) * 3, (0.25,) * 3, "given"))
    images = generator(torch.randn(128, 10))
    assert images.mean((0, 2, 3)).abs().max() < 0.15
    assert (images.std((0, 2, 3)) - 1).abs().max() < 0.25


def test_without_black_and_white_images_are_placed() -> None:
    torch.manual_seed(0)
    images = Generator(10, 4, (1, 8, 8), PixelRange((20.0,), (50.0,)))(torch.randn(64, 10)).detach()
    assert float(images.mean()) == pytest.approx(20, abs=0.1)
    assert float(images.std()) == pytest.approx(50, rel=0.02)


@pytest.mark.parametrize("pixels", [None, preprocessed_range((0.0,), (1.0,), "given")])
def test_no_pixel_is_saturated_under_autocast(pixels: PixelRange | None) -> None:
    """In bfloat16 tanh(4) is 1 and its gradient 0."""
    generator = Generator(10, 4, (1, 8, 8), pixels)
    with torch.no_grad():
        generator.to_image.weight.zero_()
        generator.to_image.bias.fill_(4.0)  # type: ignore[union-attr]
        generator.image_norm.eval()
    with torch.autocast("cpu", torch.bfloat16):
        generator(torch.randn(4, 10)).sum().backward()
    gradient = generator.to_image.bias.grad  # type: ignore[union-attr]
    assert gradient is not None
    assert gradient.abs() > 0
