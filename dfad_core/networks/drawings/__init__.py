"""Images that nobody learns to make: noise, level sets, and collages of the families here, one a file."""

from dfad_core.networks.drawings.collages import Collages
from dfad_core.networks.drawings.drawn import DrawnImages
from dfad_core.networks.drawings.level_sets import LevelSets
from dfad_core.networks.drawings.noise import NoiseImages

__all__ = ["Collages", "DrawnImages", "LevelSets", "NoiseImages"]
