"""The generator: any size, normalised images."""

import pytest
import torch

from dfad_core.networks.generator import Generator

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
