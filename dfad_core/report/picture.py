"""Pictures as PNG."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def png(grid_HWC: NDArray[np.uint8]) -> bytes:
    """A picture (H, W, 1 or 3), 0 to 255, as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(grid_HWC.squeeze(-1) if grid_HWC.shape[-1] == 1 else grid_HWC).save(buffer, "PNG")
    return buffer.getvalue()
