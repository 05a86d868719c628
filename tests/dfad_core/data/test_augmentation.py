"""Crops, shifts and mixtures: parts of the image itself, different for each image, with gradients."""

import torch

from dfad_core.data.augmentation import mixed_pairs, random_resized_crop, shifted


def test_the_whole_image_comes_back_as_it_is_or_mirrored() -> None:
    torch.manual_seed(0)
    images = torch.randn(20, 2, 8, 6)
    crops = random_resized_crop(images, area=(1.0, 1.0), ratio=(1.0, 1.0))
    plain = (crops - images).abs().amax(dim=(1, 2, 3)) < 1e-5
    mirrored = (crops - images.flip(-1)).abs().amax(dim=(1, 2, 3)) < 1e-5
    assert (plain ^ mirrored).all()
    assert plain.any()
    assert mirrored.any()


def test_parts_lie_within_the_image_and_differ_between_images() -> None:
    torch.manual_seed(0)
    ramp = torch.linspace(0, 1, 16).expand(64, 1, 16, 16)
    crops = random_resized_crop(ramp)
    assert crops.shape == ramp.shape
    assert crops.min() >= 0
    assert crops.max() <= 1
    widths = crops.amax(dim=(1, 2, 3)) - crops.amin(dim=(1, 2, 3))
    assert widths.min() > 0.3  # a quarter of the area at the narrowest ratio: 0.43 of the width
    assert widths.std() > 0.05


def test_gradients_reach_the_images() -> None:
    images = torch.randn(4, 1, 8, 8, requires_grad=True)
    random_resized_crop(images).sum().backward()
    assert (images.grad.abs().sum(dim=(1, 2, 3)) > 0).all()


def test_mixtures_lie_between_two_images_of_the_batch() -> None:
    torch.manual_seed(0)
    images = torch.arange(8.0).reshape(8, 1, 1, 1).expand(8, 2, 6, 9).clone()
    mixed = mixed_pairs(images, 0.5)
    assert mixed.shape == images.shape
    assert torch.equal(mixed[4:], images[4:])
    assert mixed.min() >= 0
    assert mixed.max() <= 7
    assert not torch.equal(mixed[:4], images[:4])
    assert torch.equal(mixed_pairs(images, 0.0), images)


def test_a_window_of_the_partner_or_a_blend() -> None:
    torch.manual_seed(0)
    images = torch.cat([torch.zeros(64, 1, 8, 8), torch.ones(64, 1, 8, 8)])
    kinds = {len(image.unique()) for image in mixed_pairs(images, 1.0)}
    assert kinds == {1, 2}  # constant (blended, or both alike), or with a window


def test_shifts_move_whole_images_by_whole_pixels() -> None:
    torch.manual_seed(0)
    images = torch.rand(64, 2, 16, 24)
    height, width = 2, 3  # an eighth of the sides
    padded = torch.nn.functional.pad(images, (width, width, height, height), mode="replicate")
    seen = set()
    for number, view in enumerate(shifted(images)):
        matches = [
            (down, right, mirror)
            for down in range(2 * height + 1)
            for right in range(2 * width + 1)
            for mirror in (False, True)
            if torch.equal(
                padded[number, :, down : down + 16, right : right + 24], view.flip(-1) if mirror else view
            )
        ]
        assert len(matches) == 1
        seen.update(matches)
    assert len({down for down, _, _ in seen}) == 5
    assert len({right for _, right, _ in seen}) == 7
    assert {mirror for _, _, mirror in seen} == {False, True}


def test_shifts_let_gradients_through() -> None:
    images = torch.rand(4, 1, 8, 8, requires_grad=True)
    shifted(images).sum().backward()
    assert (images.grad.abs().sum(dim=(1, 2, 3)) > 0).all()
