"""torchvision beside a build of torch that its compiled part does not fit: its networks need none of it.

With DFAD_REQUIRE_VISION=1 a library that is not there is an error, and no reason to skip.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

import torch


def _import_torchvision() -> None:
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


_import_torchvision()
if os.environ.get("DFAD_REQUIRE_VISION") == "1":
    import_module("torchvision")
    import_module("timm")
