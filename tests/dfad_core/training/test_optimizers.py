"""Optimizers of student and generator: decoupled decay, on kernels and matrices alone."""

import pytest
import torch
from torch import nn

from dfad_core.training.optimizers import make_optimizer


def _network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 2))


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_biases_and_norm_layers_do_not_decay(kind: str) -> None:
    network = _network()
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimizer = make_optimizer(kind, list(network.parameters()), 0.1, 0.5)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in network.named_parameters():
        if parameter.dim() > 1:
            shrunk = before[name] * (1 - 0.1 * 0.5)
            assert torch.allclose(parameter, shrunk) if kind == "adam" else (parameter != before[name]).all()
        else:
            assert torch.equal(parameter, before[name])


def test_the_decay_does_not_depend_on_the_scale_of_the_loss() -> None:
    """Coupled L2 grows against a loss that is a mean over many classes; decoupled decay does not."""

    def step(scale: float) -> torch.Tensor:
        weight = nn.Parameter(torch.tensor([[1.0, -2.0], [3.0, 0.5]]))
        optimizer = make_optimizer("adam", [weight], 1e-2, 0.1)
        weight.grad = scale * torch.tensor([[0.3, -0.2], [0.1, 0.4]])
        optimizer.step()
        return weight.detach()

    torch.testing.assert_close(step(1.0), step(1e-3), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_a_first_step_that_is_skipped_leaves_no_rubbish_behind(kind: str) -> None:
    def step(skips: int) -> torch.Tensor:
        weight = nn.Parameter(torch.ones(64, 64))
        optimizer = make_optimizer(kind, [weight], 0.1)
        weight.grad = torch.full_like(weight, 0.5)
        for skipped in [1.0] * skips + [0.0]:
            optimizer.found_inf = torch.tensor(skipped)
            optimizer.step()
        return weight.detach()

    torch.testing.assert_close(step(2), step(0))
