"""Real data sets, for scoring only: parquet files of encoded images and labels."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_DATA_DIR = "../shared/data"
"""Relative to the repository's root."""
DATA_DIR_VARIABLE = "DFAD_DATA_DIR"


IMAGE_COLUMNS, LABEL_COLUMNS = ("image", "img"), ("label", "fine_label")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


class DataMissing(Exception):
    """A data set or teacher does not exist at its path."""


def data_dir(folder: str | None = None) -> Path:
    """`folder`, else DFAD_DATA_DIR of the environment, else the default; DataMissing if it is no folder."""
    path = Path(folder or os.environ.get(DATA_DIR_VARIABLE) or ROOT / DEFAULT_DATA_DIR)
    if not path.is_dir():
        raise DataMissing(f"no data folder at {path}: name one with --data or {DATA_DIR_VARIABLE}")
    return path


def data_file(folder: Path, name: str) -> Path:
    """The file `name` of the data folder. DataMissing names the missing path."""
    path = folder / name
    if not path.is_file():
        raise DataMissing(f"{path} does not exist: name its folder with --data or {DATA_DIR_VARIABLE}")
    return path


def count_images(path: Path) -> int:
    """Rows of a parquet file."""
    import pyarrow.parquet as pq

    return int(pq.read_metadata(path).num_rows)


def load_images(path: Path, *, first: int = 0, count: int | None = None) -> tuple[Tensor, Tensor]:
    """Rows `first` to `first + count` of a parquet file: images (N, C, H, W) uint8, labels (N,) int64.

    Columns: `image` or `img` (PNG or JPEG bytes, bare or as the `bytes` of a struct), `label` or
    `fine_label` (integer). All images must have one size and mode. DataMissing says what is wrong.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = pq.read_schema(path).names
    columns = [next((n for n in wanted if n in names), None) for wanted in (IMAGE_COLUMNS, LABEL_COLUMNS)]
    if None in columns:
        raise DataMissing(f"{path} has the columns {names}, but needs one of images and one of labels")
    table = pq.read_table(path, columns=columns).slice(first, count)
    encoded = table[columns[0]]
    if pa.types.is_struct(encoded.type):
        encoded = pa.chunked_array([chunk.field("bytes") for chunk in encoded.chunks])
    images_BCHW = _stacked((io.BytesIO(one.as_py()) for one in encoded), path)
    return images_BCHW, torch.from_numpy(table[columns[1]].to_numpy().astype(np.int64))


def load_folder(path: Path) -> tuple[Tensor, Tensor]:
    """A folder of class folders of images, classes numbered in the order of their names.

    Shapes and errors as those of `load_images`.
    """
    classes = sorted(p for p in path.iterdir() if p.is_dir()) if path.is_dir() else []
    files = [(f, n) for n, c in enumerate(classes) for f in sorted(c.iterdir()) if f.suffix in IMAGE_SUFFIXES]
    if not files:
        raise DataMissing(f"{path} holds no class folders with images ({', '.join(IMAGE_SUFFIXES)})")
    labels_B = torch.tensor([number for _, number in files])
    return _stacked((file for file, _ in files), path), labels_B


def _stacked(sources: Iterable[Path | io.BytesIO], path: Path) -> Tensor:
    from PIL import Image

    arrays = []
    for source in sources:
        with Image.open(source) as image:
            array = np.asarray(image)
        arrays.append(array[None] if array.ndim == 2 else array.transpose(2, 0, 1))
        if arrays[-1].shape != arrays[0].shape:
            shapes = f"{arrays[0].shape} and {arrays[-1].shape}"
            raise DataMissing(f"the images of {path} differ in their channels, heights or widths: {shapes}")
    if not arrays:
        raise DataMissing(f"{path} holds no images")
    return torch.from_numpy(np.stack(arrays))


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
