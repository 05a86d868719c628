"""A student that begins with its teacher's weights, where both have the same layers."""

from __future__ import annotations

import torch
from torch import nn

LEAST_SHARE = 0.5
"""Least share of the student's tensors: fewer are rather names by chance than a family."""


@torch.no_grad()
def inherit(student: nn.Module, teacher: nn.Module) -> int:
    """Copy the teacher's tensors whose name and shape are those of one of the student's; returns their count.

    That fits networks of one family and width: a ResNet-18 has the first blocks of each stage of a ResNet-34.
    Nothing is copied, and 0 returned, where fewer than half of the student's tensors would be.
    """
    own, other = student.state_dict(), teacher.state_dict()
    shared = [name for name, tensor in own.items() if name in other and other[name].shape == tensor.shape]
    if len(shared) < LEAST_SHARE * len(own):
        return 0
    for name in shared:
        own[name].copy_(other[name])
    return len(shared)
