"""One equation a file. A loss returns an unsigned gap; the method owns sign and weight."""

from dfad_core.losses.activation_boundary import activation_boundary
from dfad_core.losses.bn_statistics import bn_statistics
from dfad_core.losses.class_entropy import class_entropy
from dfad_core.losses.discrepancy import discrepancy
from dfad_core.losses.divergence import divergence
from dfad_core.losses.one_hot import one_hot
from dfad_core.losses.virtual_interpolation import Mixing, mix, virtual_interpolation

__all__ = [
    "Mixing",
    "activation_boundary",
    "bn_statistics",
    "class_entropy",
    "discrepancy",
    "divergence",
    "mix",
    "one_hot",
    "virtual_interpolation",
]
