"""Images as pixels and coarse grids: where they begin, and that gradient steps keep them legal."""

import pytest
import torch

from dfad_core.networks.pixel_pyramid import MARGIN, PixelPyramid

BOUNDS = torch.tensor([-1.0, -2.0, 0.0]).view(3, 1, 1), torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1)


def test_it_begins_as_the_images() -> None:
    stream = torch.Generator().manual_seed(0)
    low, high = BOUNDS
    images = low + (high - low) * torch.rand(4, 3, 9, 11, generator=stream)
    rows = torch.tensor([2, 0])
    assert torch.equal(PixelPyramid(images, None)(rows), images[rows])
    difference = (PixelPyramid(images, BOUNDS)(rows) - images[rows]).abs() / (high - low)
    assert difference.max() <= MARGIN + 1e-6


def test_steps_change_the_pixels_and_the_grids_within_the_bounds() -> None:
    images = torch.zeros(2, 3, 8, 8) + BOUNDS[0]  # black
    pyramid = PixelPyramid(images, BOUNDS)
    optimizer = torch.optim.Adam(pyramid.parameters(), 1.0)
    rows = torch.arange(2)
    for _ in range(20):
        optimizer.zero_grad()
        (-pyramid(rows).sum()).backward()
        optimizer.step()
    changed = pyramid(rows).detach()
    assert all(parameter.abs().max() > 0 for parameter in pyramid.grids)
    assert (changed > images).all()
    assert (changed <= BOUNDS[1]).all()


@pytest.mark.parametrize("sides", [(1, 1), (3, 2)])
def test_any_sides(sides: tuple[int, int]) -> None:
    assert PixelPyramid(torch.zeros(2, 1, *sides), None)(torch.arange(2)).shape == (2, 1, *sides)
