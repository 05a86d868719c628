"""Labelled images for measuring accuracy, and nothing else: an npz, a zip of class folders or parquet.

A sandboxed process reads the user's file (`read_labelled_file`) and writes its tensors for the process that
measures (`write_labelled`, `read_labelled`).

`_NCHW`: images, channels, height, width; `_BCHW`: one batch of them; `_N`: images.
"""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from dfad_core.contract.config import InputConfig
from dfad_core.contract.errors import EvaluationRejected, TeacherRejected
from dfad_core.contract.evaluation_plan import batch_size
from dfad_core.formats.safetensors import read_safetensors

KEY = "dfad_labelled"
BATCH = 256
"""Number of images in a batch, fewer where they are large."""
MAX_IMAGES = 1_000_000
MAX_NUMBERS = 2 * 2**30
"""Largest number of pixel values of all images together."""
MAX_IMAGE_PIXELS = 64 * 2**20
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
IMAGE_ARRAYS, LABEL_ARRAYS = ("images", "image", "x", "x_test", "data"), ("labels", "label", "y", "y_test")
"""Accepted names of arrays in an npz; the first one that it has is read."""
IMAGE_COLUMNS, LABEL_COLUMNS = ("image", "img", "images"), ("label", "labels", "y")
"""Accepted names of columns in a parquet file, likewise."""


@dataclass(frozen=True)
class Labelled:
    """Images and their labels."""

    images_NCHW: Tensor
    """uint8: pixels, 0 to 255. float32: already in the teacher's normalised space."""
    labels_N: Tensor
    input: InputConfig
    name: str
    notes: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.labels_N)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised images (B, C, H, W), float32, and labels (B), on the CPU."""
        batch = batch_size(self.input.shape, BATCH)
        for images, labels in zip(
            torch.split(self.images_NCHW, batch), torch.split(self.labels_N, batch), strict=True
        ):
            yield self._normalised(images), labels

    def _normalised(self, x_BCHW: Tensor) -> Tensor:
        if x_BCHW.dtype != torch.uint8:
            return x_BCHW
        scaled = x_BCHW.float() / 255
        if self.input.mean is not None:
            scaled = scaled - torch.tensor(self.input.mean).reshape(1, -1, 1, 1)
        if self.input.std is not None:
            scaled = scaled / torch.tensor(self.input.std).reshape(1, -1, 1, 1)
        return scaled


def write_labelled(labelled: Labelled, path: Path) -> None:
    """Write the file that `read_labelled` reads."""
    description = json.dumps({"name": labelled.name, "notes": labelled.notes})
    tensors = {"images": labelled.images_NCHW.contiguous(), "labels": labelled.labels_N.contiguous()}
    save_file(tensors, path, {KEY: description})


def read_labelled(path: Path, input: InputConfig, num_classes: int) -> Labelled:
    """The data that `write_labelled` wrote. Raises EvaluationRejected if they do not fit the teacher."""
    try:
        tensors, strings = read_safetensors(path)
        description = json.loads(strings[KEY])
        images, labels = tensors["images"], tensors["labels"]
        valid = images.dtype in (torch.uint8, torch.float32) and labels.dtype == torch.int64
        valid = valid and tuple(images.shape) == (len(labels), *input.shape) and len(labels) > 0
        if not valid or int(labels.min()) < 0 or int(labels.max()) >= num_classes:
            raise ValueError
        notes = tuple(str(note) for note in description["notes"])
        return Labelled(images, labels, input, str(description["name"]), notes)
    except (KeyError, TypeError, ValueError, RecursionError, TeacherRejected) as error:
        raise EvaluationRejected("The labelled data are damaged.") from error


def read_labelled_file(path: Path, input: InputConfig, num_classes: int) -> Labelled:
    """The images, in the shape of `input`, and their classes.

    Raises EvaluationRejected: `bad_evaluation_data`, `evaluation_limit` for too many or too large images.
    """
    with path.open("rb") as file:
        magic = file.read(4)
    try:
        if magic == b"PAR1":
            return _check(_decode(_parquet(path), input), input, num_classes, "parquet")
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
                if any(name.endswith(".npy") for name in names):
                    return _check(_npz(path, input), input, num_classes, "npz")
                rows = _folders(archive, names, num_classes)
                return _check(_decode(rows, input), input, num_classes, "folders")
    except EvaluationRejected:
        raise
    except MemoryError:
        raise EvaluationRejected("The labelled data need too much memory.", code="evaluation_limit") from None
    # numpy, Pillow and pyarrow raise errors of any type for a damaged file.
    except Exception as error:
        raise EvaluationRejected("The labelled data cannot be read.") from error
    raise EvaluationRejected("Labelled data must be an npz, a zip of class folders, or parquet.")


def _check(
    contents: tuple[Tensor, Tensor, list[str]], input: InputConfig, num_classes: int, kind: str
) -> Labelled:
    images, labels, notes = contents
    if len(labels) == 0 or len(images) != len(labels):
        raise EvaluationRejected(f"There are {len(images)} images and {len(labels)} labels.")
    if int(labels.min()) < 0 or int(labels.max()) >= num_classes:
        raise EvaluationRejected(f"Labels must be 0 to {num_classes - 1}; there are others.")
    return Labelled(images, labels, input, f"{len(labels)} labelled images ({kind})", tuple(notes))


def _npz(path: Path, input: InputConfig) -> tuple[Tensor, Tensor, list[str]]:
    with np.load(path, allow_pickle=False) as arrays:
        lower = {name.lower(): name for name in arrays.files}
        image_name, label_name = _first_of(IMAGE_ARRAYS, lower), _first_of(LABEL_ARRAYS, lower)
        if image_name is None or label_name is None:
            raise EvaluationRejected('The npz needs the arrays "images" and "labels".')
        images, labels = arrays[image_name], arrays[label_name]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise EvaluationRejected("The labels are not a row of whole numbers.")
    if images.size > MAX_NUMBERS or len(labels) > MAX_IMAGES:
        raise _too_many_images()
    notes = []
    images = _channels_first(images, input)
    if images.dtype.kind == "f":
        if not np.isfinite(images).all():
            raise EvaluationRejected("Some images have values that are not finite.")
        notes.append("The images are floating point and are used as already normalised.")
        tensor = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32))
    elif images.dtype == np.uint8:
        tensor = torch.from_numpy(np.ascontiguousarray(images))
        notes += _unknown_scale(input)
    else:
        raise EvaluationRejected("Images must be uint8 (0 to 255) or floating point (normalised).")
    return tensor, torch.from_numpy(labels.astype(np.int64)), notes


def _first_of(names: Iterable[str], by_lower_case: Mapping[str, str]) -> str | None:
    """The name in the file for the first of `names` that it has; None if it has none."""
    return next((by_lower_case[name] for name in names if name in by_lower_case), None)


def _too_many_images() -> EvaluationRejected:
    return EvaluationRejected("There are too many images, or they are too large.", code="evaluation_limit")


def _channels_first(images: NDArray[Any], input: InputConfig) -> NDArray[Any]:
    channels, height, width = input.shape
    if images.shape[1:] == (channels, height, width):
        return images
    if images.shape[1:] == (height, width, channels):
        return images.transpose(0, 3, 1, 2)
    if channels == 1 and images.shape[1:] == (height, width):
        return images[:, None]
    text = f"The images are {list(images.shape[1:])}; the teacher takes {list(input.shape)}."
    raise EvaluationRejected(text)


def _folders(archive: zipfile.ZipFile, names: Iterable[str], num_classes: int) -> Iterator[tuple[bytes, int]]:
    """Pictures with their classes: the number of their folder, or its position in alphabetical order."""
    pictures = [
        n for n in names if n.lower().endswith(PICTURE_SUFFIXES) and not PurePosixPath(n).name.startswith(".")
    ]
    folders = sorted({PurePosixPath(name).parent.name for name in pictures})
    if not folders or "" in folders:
        raise EvaluationRejected("The zip has no folders of pictures, one for each class.")
    if all(folder.isdecimal() for folder in folders):
        classes = {folder: int(folder) for folder in folders}
    elif len(folders) == num_classes:
        classes = {folder: number for number, folder in enumerate(folders)}
    else:
        raise EvaluationRejected(f"There are {len(folders)} class folders for {num_classes} classes.")
    total = sum(archive.getinfo(name).file_size for name in pictures)
    if total > MAX_NUMBERS:
        raise EvaluationRejected(
            f"The pictures unpack to more than {MAX_NUMBERS} bytes.", code="evaluation_limit"
        )
    for name in pictures:
        yield archive.read(name), classes[PurePosixPath(name).parent.name]


def _parquet(path: Path) -> Iterator[tuple[bytes, int]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    if file.metadata.num_rows > MAX_IMAGES:
        raise _too_many_images()
    columns = {name.lower(): name for name in file.schema_arrow.names}
    image, label = _first_of(IMAGE_COLUMNS, columns), _first_of(LABEL_COLUMNS, columns)
    if image is None or label is None:
        raise EvaluationRejected('The parquet file needs the columns "image" and "label".')
    for batch in file.iter_batches(batch_size=256, columns=[image, label]):
        pictures = batch.column(batch.schema.get_field_index(image))
        if pa.types.is_struct(pictures.type):
            pictures = pictures.field("bytes")
        labels = batch.column(batch.schema.get_field_index(label))
        for picture, number in zip(pictures.to_pylist(), labels.to_pylist(), strict=True):
            if not isinstance(picture, bytes) or type(number) is not int:
                raise EvaluationRejected("A row is not an image's bytes and a whole number.")
            yield picture, number


def _decode(rows: Iterable[tuple[bytes, int]], input: InputConfig) -> tuple[Tensor, Tensor, list[str]]:
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = MAX_IMAGE_PIXELS
    channels, height, width = input.shape
    if channels not in (1, 3):
        raise EvaluationRejected(f"Pictures have one or three channels; the teacher takes {channels}.")
    mode = "L" if channels == 1 else "RGB"
    images: list[Tensor] = []
    labels: list[int] = []
    resized = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for content, label in rows:
            if len(images) >= MAX_IMAGES or len(images) * channels * height * width > MAX_NUMBERS:
                raise _too_many_images()
            with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "BMP", "WEBP")) as picture:
                pixels = picture.convert(mode)
            if pixels.size != (width, height):
                resized += 1
                pixels = pixels.resize((width, height), Image.Resampling.BILINEAR)
            array = np.asarray(pixels, dtype=np.uint8)
            images.append(torch.from_numpy(array.copy()).reshape(height, width, channels).permute(2, 0, 1))
            labels.append(label)
    if not images:
        raise EvaluationRejected("There are no images.")
    notes = [f"{resized} images were resized to {width}x{height}."] if resized else []
    return torch.stack(images).contiguous(), torch.tensor(labels), notes + _unknown_scale(input)


def _unknown_scale(input: InputConfig) -> list[str]:
    if input.mean is not None and input.std is not None:
        return []
    return ["The teacher's mean and std are unknown; pixels were scaled to 0 to 1."]
