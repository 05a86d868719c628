"""Moments of a batch by the kernel of batch norm: values and gradients of torch's own reductions."""

import pytest
import torch

from dfad_core.methods.terms.batch_moments import batch_moments


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 7), (6, 5, 4, 3), (4, 5, 2, 3, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels_last", [False, True])
def test_values_and_gradients(shape: tuple[int, ...], dtype: torch.dtype, *, channels_last: bool) -> None:
    stream = torch.Generator().manual_seed(0)
    features = (3 + 2 * torch.randn(shape, generator=stream)).to(dtype)
    if channels_last and len(shape) == 4:
        features = features.contiguous(memory_format=torch.channels_last)
    mean_weights_C, var_weights_C = torch.randn(2, 5, generator=stream)
    results = []
    for moments in (batch_moments, _by_reductions):
        x = features.clone().requires_grad_(True)
        mean_C, var_C = moments(x)
        assert mean_C.dtype == var_C.dtype == torch.float32
        (gradient,) = torch.autograd.grad((mean_weights_C * mean_C + var_weights_C * var_C).sum(), x)
        results.append((mean_C.detach(), var_C.detach(), gradient))
    (mean_C, var_C, gradient), (true_mean_C, true_var_C, true_gradient) = results
    torch.testing.assert_close(mean_C, true_mean_C, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(var_C, true_var_C, rtol=1e-3, atol=1e-3)
    assert gradient.dtype == dtype
    torch.testing.assert_close(
        gradient, true_gradient, rtol=0.02, atol=1e-2 if dtype == torch.bfloat16 else 1e-6
    )


def _by_reductions(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    features = features.float()
    var_C, mean_C = torch.var_mean(features, [d for d in range(features.dim()) if d != 1], correction=0)
    return mean_C, var_C


def test_a_constant_channel_has_no_variance() -> None:
    mean_C, var_C = batch_moments(torch.full((4, 2, 3, 3), 7.0))
    assert mean_C.tolist() == [7, 7]
    assert var_C.abs().max() < 1e-6
