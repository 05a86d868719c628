"""What a network keeps of an image until its gradient is computed."""

import copy

import pytest
import torch
from torch import nn

from dfad_core.contract.limits import PassMemory
from dfad_core.networks import build_classifier
from dfad_core.networks.pass_memory import pass_memory


def test_the_tensors_of_a_small_network() -> None:
    # Kept: the image, the output of the convolution, and that of BN, which ReLU changes in place.
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Flatten(),
        nn.Linear(8 * 16 * 16, 5),
    )  # fmt: skip
    features = 8 * 16 * 16 * 4
    found = pass_memory(network, (3, 16, 16))
    assert found.largest_bytes == features
    assert found.gradient_bytes == pytest.approx(3 * 16 * 16 * 4 + 2 * features, rel=0.02)


@pytest.mark.parametrize("name", ["resnet8", "resnet18", "mobilenet_v2", "vgg11_bn"])
def test_four_times_for_twice_the_side_and_the_same_on_no_device(name: str) -> None:
    def traced(side: int, device: str) -> PassMemory:
        with torch.device(device):
            network = build_classifier(name, num_classes=10, input_shape=(3, side, side), args={"width": 8})
        return pass_memory(network, (3, side, side))

    assert traced(64, "meta").gradient_bytes == pytest.approx(traced(64, "cpu").gradient_bytes, rel=0.01)
    assert traced(64, "meta").gradient_bytes / traced(32, "meta").gradient_bytes == pytest.approx(4, rel=0.05)


def test_the_network_stays_as_it_was() -> None:
    network = build_classifier("resnet8", num_classes=10, input_shape=(3, 8, 8), args={"width": 4}).train()
    network.requires_grad_(False)
    before = copy.deepcopy(network.state_dict())
    pass_memory(network, (3, 8, 8))
    assert network.training
    assert not any(p.requires_grad or p.grad is not None for p in network.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
