"""Images of the judge: drawings of families that train no student."""

from __future__ import annotations

from typing import ClassVar

from dfad_core.evaluation.families import cells, fractals, plaids, strokes, weaves
from dfad_core.networks.drawings.collages import Collages, Family


class JudgeImages(Collages):
    """Collages of the judge's own families: strokes, cells, plaids, weaves and fractals."""

    families: ClassVar[tuple[tuple[Family, float], ...]] = (
        (strokes, 2.0),
        (cells, 1.5),
        (plaids, 1.0),
        (weaves, 1.0),
        (fractals, 1.0),
    )
