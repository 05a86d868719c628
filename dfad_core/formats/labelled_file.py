"""The user's file of labelled images: an npz, a zip of class folders, or parquet.

`_N`: images; images of an npz have either order of their dimensions, until `_channels_first`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfad_core.contract.config import InputConfig
from dfad_core.contract.errors import EvaluationRejected
from dfad_core.formats.class_folders import folder_classes
from dfad_core.formats.labelled import Labelled
from dfad_core.formats.pictures import (
    MAX_IMAGES,
    MAX_NUMBERS,
    SUFFIXES,
    Picture,
    decode,
    eight_bits,
    names,
    sixteen_bits_note,
    too_many_images,
    unknown_scale,
)

IMAGE_ARRAYS, LABEL_ARRAYS = ("images", "image", "x", "x_test", "data"), ("labels", "label", "y", "y_test")
"""Accepted names of arrays in an npz; the first one that it has is read."""
IMAGE_COLUMNS, LABEL_COLUMNS = ("image", "img", "images"), ("label", "labels", "y")
"""Accepted names of columns in a parquet file, likewise."""

Contents = tuple[Tensor, Tensor, list[str]]
"""Images (N, C, H, W), labels (N), notes."""


def read_labelled_file(
    path: Path, input: InputConfig, num_classes: int, class_names: Sequence[str] = ()
) -> Labelled:
    """The images, in the shape of `input`, and their classes.

    `class_names` are the teacher's, one for each class, or none: folders may have them. Pictures that cannot
    be read are skipped; the notes name them, and the class of each folder.

    Raises EvaluationRejected: `bad_evaluation_data`, `evaluation_limit` for too many or too large images.
    """
    with path.open("rb") as file:
        magic = file.read(4)
    try:
        if magic == b"PAR1":
            return _check(decode(_parquet(path), input), input, num_classes, "parquet")
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if any(name.endswith(".npy") for name in archive.namelist()):
                    return _check(_npz(path, input), input, num_classes, "npz")
                return _check(
                    _folders(archive, input, num_classes, class_names), input, num_classes, "folders"
                )
    except EvaluationRejected:
        raise
    except MemoryError:
        raise EvaluationRejected("The labelled data need too much memory.", code="evaluation_limit") from None
    # numpy, zipfile and pyarrow raise errors of any type for a damaged file.
    except Exception as error:
        raise EvaluationRejected("The labelled data cannot be read.") from error
    raise EvaluationRejected("Labelled data must be an npz, a zip of class folders, or parquet.")


def _check(contents: Contents, input: InputConfig, num_classes: int, kind: str) -> Labelled:
    images, labels, notes = contents
    if len(labels) == 0 or len(images) != len(labels):
        raise EvaluationRejected(f"There are {len(images)} images and {len(labels)} labels.")
    if int(labels.min()) < 0 or int(labels.max()) >= num_classes:
        raise EvaluationRejected(f"Labels must be 0 to {num_classes - 1}; there are others.")
    return Labelled(images, labels, input, f"{len(labels)} labelled images ({kind})", tuple(notes))


def _npz(path: Path, input: InputConfig) -> Contents:
    with np.load(path, allow_pickle=False) as arrays:
        lower = {name.lower(): name for name in arrays.files}
        image_name, label_name = _first_of(IMAGE_ARRAYS, lower), _first_of(LABEL_ARRAYS, lower)
        if image_name is None or label_name is None:
            raise EvaluationRejected('The npz needs the arrays "images" and "labels".')
        images, labels = arrays[image_name], arrays[label_name]
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise EvaluationRejected("The labels are not a row of whole numbers.")
    if images.size > MAX_NUMBERS or len(labels) > MAX_IMAGES:
        raise too_many_images()
    notes = []
    images = _channels_first(images, input)
    if images.dtype.kind == "f":
        if not np.isfinite(images).all():
            raise EvaluationRejected("Some images have values that are not finite.")
        notes.append("The images are floating point and are used as already normalised.")
        images = images.astype(np.float32)
    elif images.dtype == np.uint16:
        notes += [sixteen_bits_note(len(images), int(images.max(initial=0))), *unknown_scale(input)]
        images = _eight_bits_each(images)
    elif images.dtype == np.uint8:
        notes += unknown_scale(input)
    else:
        text = "Images must be uint8 (0 to 255), uint16 (0 to 65535) or floating point (normalised)."
        raise EvaluationRejected(text)
    return torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels.astype(np.int64)), notes


def _eight_bits_each(images: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """The images one after the other: all at once in floating point would need several times their memory."""
    scaled = np.empty(images.shape, np.uint8)
    for number, image in enumerate(images):
        scaled[number] = eight_bits(image)
    return scaled


def _first_of(wanted: Iterable[str], by_lower_case: Mapping[str, str]) -> str | None:
    """The name in the file for the first of `wanted` that it has; None if it has none."""
    return next((by_lower_case[name] for name in wanted if name in by_lower_case), None)


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


def _folders(
    archive: zipfile.ZipFile, input: InputConfig, num_classes: int, class_names: Sequence[str]
) -> Contents:
    """Pictures whose class is that of their folder."""
    files = [
        n for n in archive.namelist() if not n.endswith("/") and not PurePosixPath(n).name.startswith(".")
    ]
    pictures = [name for name in files if name.lower().endswith(SUFFIXES)]
    folders = sorted({PurePosixPath(name).parent.name for name in pictures})
    if not folders:
        raise EvaluationRejected("The zip has no folders of pictures, one for each class.")
    if "" in folders:
        outside = [name for name in pictures if PurePosixPath(name).parent.name == ""]
        raise EvaluationRejected(f"These pictures are in no class folder: {names(outside)}.")
    classes, notes = folder_classes(folders, num_classes, class_names)
    if sum(archive.getinfo(name).file_size for name in pictures) > MAX_NUMBERS:
        text = f"The pictures unpack to more than {MAX_NUMBERS} bytes."
        raise EvaluationRejected(text, code="evaluation_limit")
    if others := [name for name in files if not name.lower().endswith(SUFFIXES)]:
        formats = ", ".join(SUFFIXES)
        notes.append(f"Files skipped because they are not {formats}: {len(others):,} ({names(others)}).")
    named = (
        Picture(name, classes[PurePosixPath(name).parent.name], partial(archive.read, name))
        for name in pictures
    )
    images, labels, more = decode(named, input)
    return images, labels, notes + more


def _parquet(path: Path) -> Iterator[Picture]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    if file.metadata.num_rows > MAX_IMAGES:
        raise too_many_images()
    columns = {name.lower(): name for name in file.schema_arrow.names}
    image, label = _first_of(IMAGE_COLUMNS, columns), _first_of(LABEL_COLUMNS, columns)
    if image is None or label is None:
        raise EvaluationRejected('The parquet file needs the columns "image" and "label".')
    row = 0
    for batch in file.iter_batches(batch_size=256, columns=[image, label]):
        contents = batch.column(batch.schema.get_field_index(image))
        if pa.types.is_struct(contents.type):
            contents = contents.field("bytes")
        labels = batch.column(batch.schema.get_field_index(label))
        for content, number in zip(contents.to_pylist(), labels.to_pylist(), strict=True):
            if not isinstance(content, bytes) or type(number) is not int:
                raise EvaluationRejected("A row is not an image's bytes and a whole number.")
            yield Picture(f"row {row}", number, partial(bytes, content))
            row += 1
