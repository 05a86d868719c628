"""Pictures of a user's labelled data as tensors in the teacher's shape."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfad_core.contract.config import InputConfig
from dfad_core.contract.errors import EvaluationRejected
from dfad_core.formats.class_names import plain

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF")
"""The same as Pillow names them."""
MAX_IMAGES = 1_000_000
MAX_NUMBERS = 2 * 2**30
"""Largest number of pixel values of all images together."""
MAX_IMAGE_PIXELS = 64 * 2**20
MAX_NAMED = 5
"""Number of files that a note names at most."""
MAX_NAME = 60
"""Number of characters of a name in a note."""
BITS_PER_SAMPLE = 258
"""Tag of a TIFF."""


@dataclass(frozen=True)
class Picture:
    """One picture of the user's file, not read yet."""

    name: str
    label: int
    read: Callable[[], bytes]


@dataclass
class _Counts:
    """What happened to the pictures, for the notes."""

    resized: int = 0
    sixteen_bits: int = 0
    largest: int = 0
    """Largest value in pictures of 16 bits."""
    skipped: list[str] = field(default_factory=list)


def too_many_images() -> EvaluationRejected:
    """The error for data over the limits."""
    return EvaluationRejected("There are too many images, or they are too large.", code="evaluation_limit")


def names(given: Sequence[str], most: int = MAX_NAMED) -> str:
    """Names from a user's file for a sentence: the first `most`, without control characters, cut."""
    text = ", ".join(shown(name) for name in given[:most])
    return text + (f" and {len(given) - most:,} more" if len(given) > most else "")


def shown(name: str) -> str:
    """One name from a user's file for a sentence; a long one keeps its end."""
    text = plain(name[-MAX_NAME:])
    return f"…{text}" if len(name) > MAX_NAME else text


def decode(pictures: Iterable[Picture], input: InputConfig) -> tuple[Tensor, Tensor, list[str]]:
    """Images (N, C, H, W), uint8; their labels (N); and notes. Pictures that cannot be read are left out.

    Raises EvaluationRejected if none can be read; `evaluation_limit` for too many.
    """
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = MAX_IMAGE_PIXELS
    channels, height, width = input.shape
    if channels not in (1, 3):
        raise EvaluationRejected(f"Pictures have one or three channels; the teacher takes {channels}.")
    images: list[Tensor] = []
    labels: list[int] = []
    counts = _Counts()
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for picture in pictures:
            if len(images) >= MAX_IMAGES or len(images) * channels * height * width > MAX_NUMBERS:
                raise too_many_images()
            try:
                pixels_HWC = _pixels(picture.read(), input, counts)
            except MemoryError:
                raise
            # Pillow and zipfile raise errors of any type for a damaged picture.
            except Exception:  # noqa: BLE001
                counts.skipped.append(picture.name)
                continue
            images.append(torch.from_numpy(pixels_HWC).permute(2, 0, 1))
            labels.append(picture.label)
    if not images:
        raise EvaluationRejected(_none_read(counts.skipped))
    return torch.stack(images).contiguous(), torch.tensor(labels), _notes(counts, input)


def _none_read(skipped: list[str]) -> str:
    if not skipped:
        return "There are no images."
    return f"None of the {len(skipped):,} pictures can be read: {names(skipped)}."


def _pixels(content: bytes, input: InputConfig, counts: _Counts) -> NDArray[np.uint8]:
    """One picture (H, W, C) in the teacher's shape. Raises an error of any type if it cannot be read."""
    from PIL import Image

    channels, height, width = input.shape
    with Image.open(io.BytesIO(content), formats=FORMATS) as file:
        picture: Image.Image = file
        if file.mode.startswith("I;16"):
            values_HW = np.asarray(file)
            picture = Image.fromarray(eight_bits(values_HW, _bits(file)))
            counts.sixteen_bits += 1
            counts.largest = max(counts.largest, int(values_HW.max()))
        elif file.mode in ("I", "F"):
            raise ValueError("values of 32 bits have no range")
        pixels = picture.convert("L" if channels == 1 else "RGB")
    if pixels.size != (width, height):
        pixels = pixels.resize((width, height), Image.Resampling.BILINEAR)
        counts.resized += 1
    return np.array(pixels, dtype=np.uint8).reshape(height, width, channels)


def _bits(file: Any) -> int:
    """Bits of a value: 16, or fewer where a TIFF says so."""
    return int(file.tag_v2.get(BITS_PER_SAMPLE, (16,))[0]) if file.format == "TIFF" else 16


def eight_bits(values: NDArray[Any], bits: int = 16) -> NDArray[np.uint8]:
    """Pixels of `bits` bits, scaled from 0 to 2^bits - 1 to 0 to 255."""
    return np.rint(values * np.float32(255 / (2**bits - 1))).astype(np.uint8)


def sixteen_bits_note(count: int, largest: int) -> str:
    """What was done with `count` images of 16 bits, and the largest value that they have."""
    return (
        f"{count:,} images have more than 8 bits: the whole range (0 to 65,535 of 16 bits) was scaled to "
        f"0 to 1. The largest value is {largest:,}."
    )


def unknown_scale(input: InputConfig) -> list[str]:
    """A note where the teacher's normalisation is not known."""
    if input.mean is not None and input.std is not None:
        return []
    return ["The teacher's mean and std are unknown; pixels were scaled to 0 to 1."]


def _notes(counts: _Counts, input: InputConfig) -> list[str]:
    _, height, width = input.shape
    notes = []
    if counts.skipped:
        number = len(counts.skipped)
        notes.append(
            f"Pictures skipped because they could not be read: {number:,} ({names(counts.skipped)})."
        )
    if counts.sixteen_bits:
        notes.append(sixteen_bits_note(counts.sixteen_bits, counts.largest))
    if counts.resized:
        notes.append(f"Pictures resized to {width}x{height}: {counts.resized:,}.")
    return notes + unknown_scale(input)
