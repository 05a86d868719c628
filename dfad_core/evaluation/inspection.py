"""What a teacher is like, before anybody trains with it."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from dfad_core.contract.methods import METHODS
from dfad_core.networks.batch_norm import bn_layers
from dfad_core.networks.cost import cost

NORMS = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm2d, nn.RMSNorm,
)  # fmt: skip
IMAGES, NUMBERS = 16, 2**17
"""How many images are tried: at most, and as many as make so many numbers, but two: they cost memory."""
TIMED_PASSES = 3
"""The fastest counts: another's work on the machine makes passes slower, never faster."""
SURE = 0.9
"""Mean confidence on noise from which a teacher tells little apart there."""


def inspected(module: nn.Module, shape: tuple[int, int, int], num_classes: int) -> dict[str, Any]:
    """Costs, norm layers, one pass forward and back over noise, and which methods suit; eval mode throughout.

    `decided` is how sure the teacher is of noise (mean of its largest probability, 1/classes to 1), and how
    many classes it sees there. `gradient` is whether an input's gradient is finite and not zero: without one
    no generator can learn. Times are of this machine, with as many threads as are set.
    """
    bn = len(bn_layers(module))
    count = max(2, min(IMAGES, NUMBERS // math.prod(shape)))
    x_BCHW = torch.randn(count, *shape, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    _gradient(module(x_BCHW), x_BCHW)  # the first pass of a network takes many times as long as any other
    forwards, backwards = [], []
    for _ in range(TIMED_PASSES):
        begun = time.perf_counter()
        logits_BK = module(x_BCHW)
        forwards.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        gradient = _gradient(logits_BK, x_BCHW)
        backwards.append(time.perf_counter() - begun)
    forward, backward = min(forwards), min(backwards)
    probabilities_BK = torch.softmax(logits_BK.detach().float(), 1)
    confidence = float(probabilities_BK.max(1).values.mean())
    return {
        **asdict(cost(module, shape)),
        "bn_layers": bn,
        "norms": dict(Counter(type(m).__name__ for m in module.modules() if isinstance(m, NORMS))),
        "bn_statistics": bn > 0,
        "gradient": gradient,
        "decided": {
            "confidence": round(confidence, 4),
            "classes": len(set(probabilities_BK.argmax(1).tolist())),
            "of": min(num_classes, count),
        },
        "timing": {
            "images": count,
            "threads": torch.get_num_threads(),
            "forward_milliseconds": round(1000 * forward, 2),
            "backward_milliseconds": round(1000 * backward, 2),
        },
        "methods": _methods(bn > 0, gradient, confidence),
    }


def _gradient(logits_BK: torch.Tensor, x_BCHW: torch.Tensor) -> bool:
    try:
        (found,) = torch.autograd.grad(logits_BK.float().logsumexp(1).sum(), x_BCHW)
    except RuntimeError:
        return False
    return bool(torch.isfinite(found).all()) and bool(found.abs().max() > 0)


def _methods(has_bn: bool, gradient: bool, confidence: float) -> list[dict[str, Any]]:
    """Every method of the catalogue: whether it suits such a teacher, and why."""
    told = []
    for name, method in METHODS.items():
        suits, reason = True, method.summary
        learns = method.inner_steps > 0
        if learns and not gradient:
            suits, reason = False, "the teacher gives no gradient that a generator could learn from"
        elif method.needs_bn and not has_bn:
            suits, reason = False, "it is guided by batch-norm statistics, and the teacher has none"
        elif name == "noise" and confidence > SURE:
            suits, reason = False, "the teacher gives nearly the same sure answer to all noise"
        elif name == "best":
            reason = (
                "the teacher's batch-norm statistics hold the images near its data"
                if has_bn
                else "without batch norm, procedural images did best where it could be measured"
            )
        told.append({"name": name, "suits": suits, "reason": reason})
    return told
