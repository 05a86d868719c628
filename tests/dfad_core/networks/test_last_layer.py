"""Logits under autocast: the last linear layer computes in float32."""

import copy

import pytest
import torch
from torch import nn

from dfad_core.networks import build_classifier
from dfad_core.networks.last_layer import float32_logits, last_linear


def _network() -> nn.Module:
    torch.manual_seed(0)
    return build_classifier("resnet8", num_classes=10, input_shape=(3, 32, 32), args={"width": 4}).eval()


def test_logits_do_not_lie_on_the_grid_of_bfloat16() -> None:
    network, x_BCHW = _network(), torch.randn(8, 3, 32, 32)
    layer = last_linear(network, x_BCHW)
    with torch.no_grad():
        layer.weight.mul_(50)
    seen: list[torch.Tensor] = []
    layer.register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0]))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        rounded_BK = network(x_BCHW)
        with float32_logits(network, x_BCHW):
            logits_BK = network(x_BCHW)
        assert network(x_BCHW).dtype == torch.bfloat16
    assert rounded_BK.dtype == torch.bfloat16
    assert logits_BK.dtype == torch.float32
    expected_BK = nn.functional.linear(seen[-2].float(), layer.weight, layer.bias)
    torch.testing.assert_close(logits_BK, expected_BK)


def test_copies_and_errors_leave_autocast_as_it_was() -> None:
    network, x_BCHW = _network(), torch.randn(2, 3, 32, 32)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        with float32_logits(network, x_BCHW):
            twin = copy.deepcopy(network)
            assert twin(x_BCHW).dtype == torch.float32
            layer = last_linear(network, x_BCHW)
            layer.weight = nn.Parameter(torch.zeros(3, 1))
            with pytest.raises(RuntimeError):
                network(x_BCHW)
            assert torch.is_autocast_enabled("cpu")
        assert torch.is_autocast_enabled("cpu")


def test_networks_without_a_linear_layer_stay_as_they_are() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    x_BCHW = torch.randn(2, 1, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16), float32_logits(network, x_BCHW):
        assert network(x_BCHW).shape == (2, 2)


def test_looking_for_the_layer_changes_no_statistics() -> None:
    network = _network().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    last_linear(network, torch.zeros(2, 3, 32, 32))
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
