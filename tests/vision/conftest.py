"""With DFAD_REQUIRE_VISION=1 a library that is not there is an error, and no reason to skip."""

from __future__ import annotations

import os
from importlib import import_module

from benchmarks.engine.torchvision_alone import import_torchvision

import_torchvision()
if os.environ.get("DFAD_REQUIRE_VISION") == "1":
    import_module("torchvision")
    import_module("timm")
