"""One equation a file. A loss returns an unsigned gap; the method owns sign and weight."""

from dfad_core.losses.activation_boundary import activation_boundary
from dfad_core.losses.agreed_divergence import agreed_divergence
from dfad_core.losses.attention_transfer import attention_map, attention_transfer
from dfad_core.losses.bn_statistics import bn_statistics
from dfad_core.losses.class_entropy import class_entropy
from dfad_core.losses.contrast import contrast
from dfad_core.losses.discrepancy import discrepancy
from dfad_core.losses.divergence import divergence
from dfad_core.losses.feature_norm import feature_norm
from dfad_core.losses.jensen_shannon import jensen_shannon
from dfad_core.losses.one_hot import one_hot
from dfad_core.losses.squared_error import squared_error
from dfad_core.losses.total_variation import total_variation
from dfad_core.losses.virtual_interpolation import Mixing, mix, virtual_interpolation

__all__ = [
    "Mixing",
    "activation_boundary",
    "agreed_divergence",
    "attention_map",
    "attention_transfer",
    "bn_statistics",
    "class_entropy",
    "contrast",
    "discrepancy",
    "divergence",
    "feature_norm",
    "jensen_shannon",
    "mix",
    "one_hot",
    "squared_error",
    "total_variation",
    "virtual_interpolation",
]
