"""Batch norm for a teacher whose BN layers were folded into its convolutions: the same function, with BN.

Exporters merge `conv -> BN` into one convolution. Its bias is then `beta - gamma mean / std`: but for beta,
which is small, it is the negative mean of the convolution's output over the training data. So the biases of a
folded network still tell most of its statistics, and they tell that it was folded: biases learned without BN
are much smaller than the outputs, and unrelated to them.

Suffixes: B images, C channels of a layer.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dfad_core.networks.batch_norm import bn_layers
from dfad_core.networks.drawings.collages import Collages
from dfad_core.networks.folding import agrees
from dfad_core.networks.pixel_range import PixelRange
from dfad_core.networks.refolding import UnfoldedConv

LEAST_LAYERS = 3
"""Fewer convolutions with a bias are not judged."""
LARGE_BIAS = 0.3
"""Root mean square of folded biases in units of the outputs' deviations, at the least. Seen: 0.5 to 1 in
folded networks, 0.02 to 0.2 in others."""
CORRELATION = 0.5
"""Least correlation of folded biases with the negative means of the outputs. Seen: 0.5 to 0.9, and 0 to
0.2."""
MOST_IMAGES, LEAST_IMAGES, MOST_NUMBERS = 64, 8, 2**17
"""Drawn images by which a network is recognised: as many as have so many pixel values."""
CONSTANT = 0.02
"""Channels whose deviation is less than this share of their layer's median are not judged."""


def drawn_images(
    shape: tuple[int, int, int],
    pixels: PixelRange,
    device: torch.device,
    count: int | None = None,
    seed: int = 0,
) -> Tensor:
    """`count` collages (B, C, H, W), the same ones at every call with the same seed.

    None: as many as recognising a network takes.
    """
    if count is None:
        count = max(LEAST_IMAGES, min(MOST_IMAGES, MOST_NUMBERS // math.prod(shape)))
    collages = Collages(shape, pixels).to(device)
    stream = torch.Generator(device).manual_seed(seed)
    images_BCHW: Tensor = collages(torch.randn(count, 1, generator=stream, device=device))
    return images_BCHW


def may_be_folded(module: nn.Module) -> bool:
    """Whether `module` has no BN, and enough convolutions with a bias."""
    return not bn_layers(module) and len(_biased(module)) >= LEAST_LAYERS


def _biased(module: nn.Module) -> dict[str, nn.Conv2d]:
    return {
        name: layer
        for name, layer in module.named_modules()
        if type(layer) is nn.Conv2d and layer.bias is not None
    }


@torch.no_grad()
def unfolded(module: nn.Module, images_BCHW: Tensor) -> nn.Module | None:
    """A copy of `module`, in eval mode, with BN behind each convolution; None unless BN was folded into them.

    The statistics are those of the outputs for `images_BCHW`. None also where the copy's logits differ.
    """
    if not may_be_folded(module):
        return None
    convs = _biased(module)
    with outputs_of(list(convs.values())) as outputs:
        expected_BK = module(images_BCHW)
    if not all(conv in outputs for conv in convs.values()) or not _is_folded(outputs):
        return None
    network = copy.deepcopy(module)
    for name, conv in convs.items():
        parent, _, child = name.rpartition(".")
        own = network.get_submodule(name)
        assert isinstance(own, nn.Conv2d)
        layer = UnfoldedConv(own)
        std_C, mean_C = torch.std_mean(outputs[conv].float().transpose(0, 1).flatten(1), dim=1)
        layer.set_statistics(mean_C, std_C.square())
        setattr(network.get_submodule(parent), child, layer)
    network.requires_grad_(False).eval()
    return network if agrees(network(images_BCHW), expected_BK) else None


def _is_folded(outputs: dict[nn.Module, Tensor]) -> bool:
    sizes, correlations = [], []
    for conv, output_BCHW in outputs.items():
        std_C, mean_C = torch.std_mean(output_BCHW.float().transpose(0, 1).flatten(1), dim=1)
        is_judged_C = std_C > CONSTANT * std_C.median()
        if int(is_judged_C.sum()) < 3:  # a correlation of two numbers says nothing
            continue
        assert isinstance(conv.bias, Tensor)
        bias_C = conv.bias[is_judged_C] / std_C[is_judged_C]
        response_C = mean_C[is_judged_C] / std_C[is_judged_C] - bias_C
        sizes.append(bias_C.square().mean().sqrt())
        correlations.append(torch.corrcoef(torch.stack([response_C, -bias_C]))[0, 1].nan_to_num(0.0))
    if len(sizes) < LEAST_LAYERS:
        return False
    return bool(
        torch.stack(sizes).median() >= LARGE_BIAS and torch.stack(correlations).median() >= CORRELATION
    )


@contextmanager
def outputs_of(layers: list[nn.Module]) -> Iterator[dict[nn.Module, Tensor]]:
    """Outputs of each of the layers in the last pass of the block, by layer."""
    outputs: dict[nn.Module, Tensor] = {}
    handles = [
        layer.register_forward_hook(lambda layer, _inputs, output: outputs.__setitem__(layer, output))
        for layer in layers
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
