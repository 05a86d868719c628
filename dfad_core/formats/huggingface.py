"""A student from a config of transformers as the folder that its own library loads, in a zip file."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from dfad_core.errors import ExportError
from dfad_core.formats.metadata import StudentMetadata
from dfad_core.networks.from_transformers import Logits, auto_config

CONFIG, WEIGHTS, PREPROCESSOR = "config.json", "model.safetensors", "preprocessor_config.json"
BEGINNING = (1980, 1, 1, 0, 0, 0)
"""Of time, for zip files: the same student gives the same bytes."""


def huggingface_bytes(student: nn.Module, metadata: StudentMetadata) -> bytes:
    """A zip of config.json, model.safetensors and preprocessor_config.json.

    Raises ExportError for a student that is no network of transformers.
    """
    if not isinstance(student, Logits):
        raise ExportError("The student is no network of transformers.", param="huggingface")
    about: Any = student.net.config
    config = about.to_dict() | {"architectures": [type(student.net).__name__]}
    config.pop("_name_or_path", None)
    tensors = {n: t.detach().cpu().contiguous() for n, t in student.net.state_dict().items()}
    files = {
        CONFIG: _json(config),
        WEIGHTS: save(tensors, {"format": "pt"}),
        PREPROCESSOR: _json(_preprocessor(metadata)),
    }
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, BEGINNING), content)
    return into.getvalue()


def read_huggingface(content: bytes) -> nn.Module:
    """What transformers itself loads from the zip, as images to logits, in eval mode."""
    auto_config()
    from transformers import AutoModelForImageClassification

    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in (CONFIG, WEIGHTS, PREPROCESSOR):
                Path(folder, name).write_bytes(archive.read(name))
        model = AutoModelForImageClassification.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32
        )
        # The weights may be mapped from the file that goes now.
        state: dict[str, Tensor] = {n: t.clone() for n, t in model.state_dict().items()}
        model.load_state_dict(state, assign=True)
    return Logits(model).eval()


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True).encode() + b"\n"


def _preprocessor(metadata: StudentMetadata) -> dict[str, object]:
    _, height, width = metadata.input.shape
    normalised = metadata.input.mean is not None
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": height, "width": width},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": normalised,
        **({"image_mean": metadata.input.mean, "image_std": metadata.input.std} if normalised else {}),
    }
