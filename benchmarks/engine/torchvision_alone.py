"""torchvision beside a build of torch that its compiled part does not fit: its networks need none of it."""

from __future__ import annotations

import sys
from importlib import import_module

import torch


def import_torchvision() -> None:
    """Import it, if it is installed, so that later imports find it."""
    try:
        import_module("torchvision")
        return
    except ImportError:
        return
    except RuntimeError:  # "operator torchvision::nms does not exist"
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
    for name in ("nms", "qnms"):
        signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        torch.library.define(f"torchvision::{name}", signature)
    import_module("torchvision")
