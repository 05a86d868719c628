"""Whether two networks change their minds at the same places."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfad_core.contract.evaluation_plan import PATH_STEPS

STEP_LENGTH = 0.2
"""Of one step, as root mean square over the image's values; a whole path moves an image by about 2 of its
own deviations."""


def transition_error(
    teacher: nn.Module,
    student: nn.Module,
    images_BCHW: Tensor,
    seed: int,
    *,
    batch_size: int = 64,
    after: Callable[[int], object] = lambda _: None,
) -> float:
    r"""Mean gap of the probabilities of a class towards which images are moved by the student: 0 to 1.

    .. math:: MTE = \frac{1}{BS} \sum_{b,s} |q_j(x_b^s) - p_j(x_b^s)|, \quad
              x^{s+1} = x^s - \xi \frac{\nabla_x CE(q(x^s), j)}{\|\nabla_x CE(q(x^s), j)\|}

    Micaelli and Storkey 2019, arXiv 1905.09768, section 4.3 (transition curves between classes). Differs
    from the paper in steps of fixed length and in one other class j for each image, drawn from `seed`.

    Both networks in eval mode; images (B, C, H, W), of which `batch_size` are moved at a time. `after` each
    step it is told how many.
    """
    stream = torch.Generator(images_BCHW.device).manual_seed(seed)
    with torch.no_grad():
        classes = student(images_BCHW[:1]).shape[1]
    shift_B = torch.randint(1, classes, (len(images_BCHW),), generator=stream, device=images_BCHW.device)
    error = 0.0
    parts = zip(torch.split(images_BCHW, batch_size), torch.split(shift_B, batch_size), strict=True)
    for x_BCHW, part_B in parts:
        share = len(x_BCHW) / len(images_BCHW)
        error += share * _moved(teacher, student, x_BCHW, part_B, after)
    return error


def _moved(
    teacher: nn.Module,
    student: nn.Module,
    images_BCHW: Tensor,
    shift_B: Tensor,
    after: Callable[[int], object],
) -> float:
    """The same of one batch, with its classes as shifts from those that the student sees."""
    with torch.no_grad():
        logits_BK = student(images_BCHW)
    toward_B = (logits_BK.argmax(dim=1) + shift_B) % logits_BK.shape[1]
    x = images_BCHW.detach().clone()
    total = torch.zeros((), device=x.device)
    for _ in range(PATH_STEPS):
        x.requires_grad_(True)
        with torch.enable_grad():
            loss = F.cross_entropy(student(x).float(), toward_B, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, x)
        with torch.no_grad():
            length_B111 = gradient.square().mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp_min(1e-12)
            x = x - STEP_LENGTH * gradient / length_B111
            chances = [net(x).float().softmax(dim=1) for net in (student, teacher)]
            q_B, p_B = (c.gather(1, toward_B[:, None])[:, 0] for c in chances)
            total += (q_B - p_B).abs().mean()
        after(len(x))
    return float(total.item()) / PATH_STEPS
