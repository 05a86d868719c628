"""Transition error: gap of two networks along paths from one class to another."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfad_core.contract.evaluation_plan import PATH_STEPS

STEP_LENGTH = 0.2
"""Length of one step, as root mean square over the image's values. A whole path moves an image by about two
of its own deviations."""


def transition_error(
    teacher: nn.Module,
    student: nn.Module,
    images_BCHW: Tensor,
    seed: int,
    *,
    batch_size: int = 64,
    after: Callable[[int], object] = lambda _: None,
) -> float:
    r"""Mean gap of both networks' probabilities of a class while the student moves images towards it: 0 to 1.

    .. math:: MTE = \frac{1}{BS} \sum_{b,s} |q_j(x_b^s) - p_j(x_b^s)|, \quad
              x^{s+1} = x^s - \xi \frac{\nabla_x CE(q(x^s), j)}{\|\nabla_x CE(q(x^s), j)\|}

    Micaelli and Storkey 2019, arXiv 1905.09768, section 4.3 (transition curves between classes). Differs
    from the paper in steps of fixed length and in a single random class j for each image, by `seed`.

    Both networks are in eval mode. The images (B, C, H, W) move in batches of `batch_size`; `after` is called
    after each step with the size of the batch.
    """
    stream = torch.Generator(images_BCHW.device).manual_seed(seed)
    with torch.no_grad():
        classes = student(images_BCHW[:1]).shape[1]
    shift_B = torch.randint(1, classes, (len(images_BCHW),), generator=stream, device=images_BCHW.device)
    error = 0.0
    parts = zip(torch.split(images_BCHW, batch_size), torch.split(shift_B, batch_size), strict=True)
    for x_BCHW, part_B in parts:
        share = len(x_BCHW) / len(images_BCHW)
        error += share * _batch_error(teacher, student, x_BCHW, part_B, after)
    return error


def _batch_error(
    teacher: nn.Module,
    student: nn.Module,
    images_BCHW: Tensor,
    shift_B: Tensor,
    after: Callable[[int], object],
) -> float:
    """Transition error of one batch. `shift_B`: offset of each target class from the student's class."""
    with torch.no_grad():
        logits_BK = student(images_BCHW)
    target_B = (logits_BK.argmax(dim=1) + shift_B) % logits_BK.shape[1]
    x = images_BCHW.detach().clone()
    total = torch.zeros((), device=x.device)
    for _ in range(PATH_STEPS):
        x.requires_grad_(True)
        with torch.enable_grad():
            loss = F.cross_entropy(student(x).float(), target_B, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, x)
        with torch.no_grad():
            length_B111 = gradient.square().mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp_min(1e-12)
            x = x - STEP_LENGTH * gradient / length_B111
            probabilities = [net(x).float().softmax(dim=1) for net in (student, teacher)]
            q_B, p_B = (c.gather(1, target_B[:, None])[:, 0] for c in probabilities)
            total += (q_B - p_B).abs().mean()
        after(len(x))
    return float(total.item()) / PATH_STEPS
