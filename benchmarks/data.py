"""Real data sets, for scoring only: parquet files of encoded images and labels."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_DATA_DIR = "../shared/data"
"""Relative to the repository's root."""
DATA_DIR_VARIABLE = "DFAD_DATA_DIR"


class DataMissing(Exception):
    """A data set or teacher is not where it was looked for."""


def data_dir(given: str | None = None) -> Path:
    """`given`, else DFAD_DATA_DIR of the environment, else the default; DataMissing if it is no folder."""
    path = Path(given or os.environ.get(DATA_DIR_VARIABLE) or ROOT / DEFAULT_DATA_DIR)
    if not path.is_dir():
        raise DataMissing(f"no data folder at {path}: name one with --data or {DATA_DIR_VARIABLE}")
    return path


def data_file(folder: Path, name: str) -> Path:
    """The file `name` of the data folder. DataMissing says what is missing and where it was sought."""
    path = folder / name
    if not path.is_file():
        raise DataMissing(f"{path} does not exist: name its folder with --data or {DATA_DIR_VARIABLE}")
    return path


def load_images(path: Path, *, first: int = 0, count: int | None = None) -> tuple[Tensor, Tensor]:
    """Rows `first` to `first + count` of a parquet file: images (N, C, H, W) uint8, labels (N,) int64.

    Columns: `image` (PNG or JPEG bytes), `label` (integer). All images must have one size.
    """
    import pyarrow.parquet as pq
    from PIL import Image

    table = pq.read_table(path, columns=["image", "label"]).slice(first, count)
    arrays = []
    for encoded in table["image"]:
        with Image.open(io.BytesIO(encoded.as_py())) as image:
            array = np.asarray(image)
        arrays.append(array[None] if array.ndim == 2 else array.transpose(2, 0, 1))
    labels_B = torch.from_numpy(table["label"].to_numpy().astype(np.int64))
    return torch.from_numpy(np.stack(arrays)), labels_B


def normalise(
    images_BCHW: Tensor, mean: Sequence[float], std: Sequence[float], side: int | None = None
) -> Tensor:
    """uint8 images to a teacher's normalised float32 space, resized (bilinear) to `side` first."""
    x_BCHW = images_BCHW.float() / 255
    if side is not None and x_BCHW.shape[-2:] != (side, side):
        x_BCHW = torch.nn.functional.interpolate(
            x_BCHW, size=(side, side), mode="bilinear", align_corners=False
        )
    return (x_BCHW - torch.tensor(mean).reshape(-1, 1, 1)) / torch.tensor(std).reshape(-1, 1, 1)
