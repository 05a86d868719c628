"""Data-free adversarial distillation: the engine.

Light on purpose: importing this package imports no torch. `config`, `catalog` and `errors` are
torch-free and may be used by a service that never trains; `distill`, `load_student` and the rest
load torch when they are first asked for.
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
