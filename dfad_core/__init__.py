"""Data-free adversarial distillation: the engine.

Importing this package imports no torch: `dfad_core.contract` serves programs that never train. `distill` and
`load_student` load torch on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dfad_core.formats.safetensors import load_student
    from dfad_core.training.trainer import distill

__all__ = ["__version__", "distill", "load_student"]

_LAZY = {"distill": "dfad_core.training.trainer", "load_student": "dfad_core.formats.safetensors"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
