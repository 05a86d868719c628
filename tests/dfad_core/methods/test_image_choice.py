import numpy as np
import torch
from torch import nn

from dfad_core.methods.image_choice import ImageChoice


def _teacher(classes: int) -> nn.Module:
    """BN of the pixels, with mean 0.5 and variance 0.04 stored; logits by the mean brightness."""
    bn = nn.BatchNorm2d(1)
    bn.running_mean = torch.tensor([0.5])
    bn.running_var = torch.tensor([0.04])
    linear = nn.Linear(1, classes)
    with torch.no_grad():
        linear.weight.copy_(torch.linspace(-1, 1, classes)[:, None])
        linear.bias.zero_()
    return nn.Sequential(bn, nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear).eval()


def _statistics(choice: ImageChoice, teacher: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad(), choice.recording():
        logits = teacher(images)
    return choice.statistics(logits)


def test_shares_bring_the_statistics_to_the_stored_ones() -> None:
    torch.manual_seed(0)
    teacher = _teacher(2)
    images = torch.rand(400, 1, 4, 4) * torch.rand(400, 1, 1, 1)  # too dark
    choice = ImageChoice(teacher, 2)
    shares = torch.from_numpy(choice.shares(_statistics(choice, teacher, images))).float()
    assert shares.sum().item() == np.float32(1)
    assert shares.min() >= 0
    means = images.mean((1, 2, 3))
    assert abs(means.mean() - 0.5) > 0.2
    assert abs((shares * means).sum() - 0.5) < 0.1


def test_without_bn_classes_become_even() -> None:
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        teacher[1].weight.copy_(torch.tensor([[9.0], [-9.0]]).expand(2, 4))
    images = torch.where(torch.rand(300, 1, 1, 1) < 0.9, 1.0, -1.0).expand(300, 1, 2, 2)
    choice = ImageChoice(teacher, 2)
    shares = choice.shares(_statistics(choice, teacher, images))
    rare = shares[(images[:, 0, 0, 0] < 0).numpy()].sum()
    assert 0.4 < rare < 0.6


def test_images_that_fit_already_keep_equal_shares() -> None:
    choice = ImageChoice(nn.Flatten(), 2)
    np.testing.assert_allclose(choice.shares(torch.zeros(10, 3)), 0.1)


def test_statistics_have_one_length_for_every_teacher_of_as_many_classes() -> None:
    teacher = _teacher(5)
    choice = ImageChoice(teacher, 5)
    first = _statistics(choice, teacher, torch.rand(3, 1, 4, 4))
    again = _statistics(ImageChoice(teacher, 5), teacher, torch.zeros(2, 1, 4, 4))
    assert first.shape == (3, 5 + 256)
    assert again.shape == (2, 5 + 256)


def test_the_projection_is_the_same_in_every_run() -> None:
    teacher, images = _teacher(3), torch.rand(4, 1, 4, 4)
    torch.manual_seed(1)
    first = _statistics(ImageChoice(teacher, 3), teacher, images)
    torch.manual_seed(2)
    assert torch.equal(first, _statistics(ImageChoice(teacher, 3), teacher, images))


def test_images_without_finite_statistics_have_no_share() -> None:
    statistics = torch.zeros(4, 3)
    statistics[1, 2], statistics[3, 0] = torch.nan, torch.inf
    choice = ImageChoice(nn.Flatten(), 2)
    np.testing.assert_allclose(choice.shares(statistics), [0.5, 0, 0.5, 0])
    np.testing.assert_allclose(choice.shares(torch.full((4, 3), torch.nan)), 0.25)


def test_statistics_of_a_thousand_classes_are_projected() -> None:
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(16, 1000, bias=False))
    with torch.no_grad():
        teacher[1].weight.mul_(10)
    images = torch.randn(300, 1, 4, 4)
    images[:200] = images[0] + 0.01 * torch.randn(200, 1, 4, 4)  # two thirds of one class
    choice = ImageChoice(teacher, 1000)
    statistics = _statistics(choice, teacher, images)
    assert statistics.shape == (300, 256)
    shares = choice.shares(statistics)
    assert shares[:200].sum() < 0.3
