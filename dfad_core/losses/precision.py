"""Precision of the losses: float32 or finer, inside an autocast too."""

from torch import Tensor


def full_precision(values: Tensor) -> Tensor:
    """`values` as they are if float32 or finer, else as float32.

    Sums over a batch and exponentials of logits lose small differences in bfloat16.

    >>> import torch
    >>> full_precision(torch.ones(2, dtype=torch.bfloat16)).dtype
    torch.float32
    """
    return values if values.dtype.itemsize >= 4 else values.float()
