"""BN that was folded away: recognised by the biases, put back without a change of the function."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dfad_core.networks import build_classifier
from dfad_core.networks.batch_norm import bn_layers, recalibrate
from dfad_core.networks.folding import folded
from dfad_core.networks.pixel_range import standardised
from dfad_core.networks.refolding import unfolded_layers
from dfad_core.networks.unfolding import drawn_images, may_be_folded, unfolded

SHAPE = (3, 16, 16)
IMAGES = drawn_images(SHAPE, standardised(3), torch.device("cpu"))


def network(name: str = "resnet8") -> nn.Module:
    """With BN statistics of other images than the drawn ones."""
    torch.manual_seed(0)
    module = build_classifier(name, num_classes=5, input_shape=SHAPE)
    recalibrate(module, [torch.randn(64, *SHAPE)])
    return module.eval().requires_grad_(False)


@pytest.mark.parametrize("name", ["resnet8", "mobilenet_v2"])
def test_the_function_stays_and_batch_norm_is_back(name: str) -> None:
    given = folded(network(name), IMAGES)
    assert not bn_layers(given)
    restored = unfolded(given, IMAGES)
    assert restored is not None
    assert not bn_layers(given)
    layers = unfolded_layers(restored)
    assert len(layers) == len(bn_layers(restored)) == len(bn_layers(network(name)))
    torch.testing.assert_close(restored(IMAGES), given(IMAGES), atol=1e-3, rtol=1e-3)
    for layer in layers:  # any statistics leave the function as it is
        mean_C = torch.randn(layer.out_channels)
        layer.set_statistics(mean_C, torch.rand(layer.out_channels) + 0.1)
        assert torch.equal(layer.statistics[0], mean_C)
    torch.testing.assert_close(restored(IMAGES), given(IMAGES), atol=1e-3, rtol=1e-3)


def test_the_statistics_are_those_of_the_drawn_images() -> None:
    restored = unfolded(folded(network(), IMAGES), IMAGES)
    assert restored is not None
    layers = unfolded_layers(restored)
    inputs: list[torch.Tensor] = []
    for layer in layers:
        layer.norm.register_forward_pre_hook(lambda _norm, given: inputs.append(given[0]))
    restored(IMAGES)
    for layer, features in zip(layers, inputs, strict=True):
        mean_C, var_C = layer.norm.running_mean, layer.norm.running_var
        torch.testing.assert_close(features.mean((0, 2, 3)), mean_C, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(features.var((0, 2, 3)), var_C, atol=1e-3, rtol=1e-3)


def test_a_faster_copy_for_labels_is_what_was_given() -> None:
    given = folded(network(), IMAGES)
    restored = unfolded(given, IMAGES)
    assert restored is not None
    again = folded(restored, IMAGES)
    assert not bn_layers(again)
    assert bn_layers(restored)
    own, other = given.state_dict(), again.state_dict()
    assert own.keys() == other.keys()
    assert all(torch.equal(other[name], tensor) for name, tensor in own.items())


def test_parameters_and_state_are_those_that_were_given() -> None:
    """A student of the same family begins with them; costs and checkpoints are those of the file."""
    given = folded(network(), IMAGES)
    restored = unfolded(given, IMAGES)
    assert restored is not None
    for own, other in (
        (given.state_dict(), restored.state_dict()),
        (dict(given.named_parameters()), dict(restored.named_parameters())),
    ):
        assert own.keys() == other.keys()
        assert all(torch.equal(other[name], tensor) for name, tensor in own.items())


def test_networks_that_were_never_folded_are_left_alone() -> None:
    torch.manual_seed(0)
    for module in (
        network(),  # has its BN
        build_classifier("lenet5", num_classes=5, input_shape=(3, 32, 32)),
        nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU())
                for channels in (3, 16, 16, 16)
            ),
            nn.Flatten(),
            nn.Linear(16 * 16 * 16, 5),
        ),
    ):
        module.eval()
        shape = (3, 32, 32) if type(module).__name__ == "LeNet5" else SHAPE
        assert unfolded(module, drawn_images(shape, standardised(3), torch.device("cpu"))) is None
    assert not may_be_folded(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 5)))


def test_a_layer_that_is_not_called_as_one_is_left_alone() -> None:
    class Direct(nn.Module):
        """Uses the kernels of its convolutions, but calls none of them."""

        def __init__(self) -> None:
            super().__init__()
            self.net = folded(network(), IMAGES)
            self.other = nn.Conv2d(3, 5, 16)

        def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
            logits_BK: torch.Tensor = self.net(images_BCHW)
            return logits_BK + nn.functional.conv2d(images_BCHW, self.other.weight, self.other.bias).flatten(
                1
            )

    assert unfolded(Direct().eval(), IMAGES) is None


def test_drawn_images_are_the_same_at_every_call() -> None:
    # Both drawn here: with another number of threads, which other tests set, last digits differ.
    once, again = (drawn_images(SHAPE, standardised(3), torch.device("cpu")) for _ in range(2))
    assert torch.equal(once, again)
    assert 8 <= len(once) <= 64
    other = drawn_images(SHAPE, standardised(3), torch.device("cpu"), len(once), seed=1)
    assert not torch.equal(once, other)
