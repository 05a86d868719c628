"""Teachers that come as a Hugging Face folder: config, weights and preprocessor, read as data alone.

The network is one of transformers' own image classifiers. Code that a folder brings is never looked at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dfad_core.contract.config import InputConfig
from dfad_core.contract.transformers_config import LABELS, MODEL_TYPES, bounded
from dfad_core.errors import ConfigError, OneLogitRejected, TeacherRejected
from dfad_core.formats.archive import Folder
from dfad_core.formats.detect import detect_format
from dfad_core.formats.match import check_layouts, some
from dfad_core.formats.safetensors_file import read_safetensors
from dfad_core.formats.state_dict import read_state_dict_pt
from dfad_core.networks.from_transformers import Logits, auto_config, classifier_class

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED = "pytorch_model.bin"
MAX_JSON_BYTES = 16 * 2**20
MAX_CLASSES = 100_000
MORE_THAN_THERE = 1.5
"""Some networks share weights that are stored once."""


@dataclass(frozen=True)
class HuggingFaceSource:
    """What a network was built from, so that another process can build it again."""

    config: Mapping[str, Any]
    """Checked: plain values that transformers knows for `model_type`, and `num_labels`."""
    tensors: Mapping[str, Tensor]


def load_huggingface(
    path: Path, num_classes: int | None, given: InputConfig | None
) -> tuple[Logits, HuggingFaceSource, int, InputConfig, list[str]]:
    """The network, its source, its classes, its input and notes.

    Raises TeacherRejected: `remote_code_refused`, `unsupported_architecture` with the model type,
    `architecture_mismatch` where weights and config are not each other's, `one_logit`, `structure_limit`,
    `corrupt_file`.
    """
    folder = Folder(path)
    raw = _json(folder, CONFIG)
    config = checked_config(raw)
    source = given or _input(config, _json(folder, PREPROCESSOR) if PREPROCESSOR in folder.names else {})
    tensors = _weights(folder, path.parent)
    module = build_huggingface(config, tensors, source.shape)
    classes = int(config["num_labels"])
    if num_classes not in (None, classes):
        text = f"The folder knows {classes} classes, not {num_classes}."
        raise TeacherRejected(text, code="architecture_mismatch", param="num_classes")
    notes = [] if source.mean is not None else ["no preprocessor_config.json: mean and std are not known"]
    ignored = sorted(n for n in folder.names if n.endswith((".py", ".bin", ".pkl", ".pt", ".pth")))
    if WEIGHTS not in folder.names and INDEX not in folder.names:
        ignored.remove(PICKLED)
    if ignored:
        notes.append(f"not read: {', '.join(ignored)[:200]}")
    return module, HuggingFaceSource(config, module.net.state_dict()), classes, source, notes


def checked_config(raw: Mapping[str, Any]) -> dict[str, Any]:
    """What of a config.json is kept. Raises TeacherRejected."""
    if "auto_map" in raw:
        text = "The folder's network is code of its own (auto_map), which is never run; export it to ONNX."
        raise TeacherRejected(text, code="remote_code_refused", param="auto_map")
    if raw.get("quantization_config") is not None:
        raise TeacherRejected(
            "Quantised folders are not read.", code="tensor_layout", param="quantization_config"
        )
    kind = raw.get("model_type")
    if kind not in MODEL_TYPES:
        text = f"The model type {str(kind)[:64]} is not read."
        raise TeacherRejected(text, code="unsupported_architecture", param="model_type")
    labels = raw.get("id2label") or {}
    classes = len(labels) if isinstance(labels, Mapping) and labels else raw.get("num_labels", 2)
    if classes == 1:
        raise OneLogitRejected
    if type(classes) is not int or not 2 <= classes <= MAX_CLASSES:
        raise TeacherRejected(
            "The config has no sound number of classes.", code="corrupt_file", param="id2label"
        )
    known = _auto_config().for_model(str(kind)).to_dict()
    names = [n for n in raw if n in known and n not in (*LABELS, "dtype", "torch_dtype")]
    try:
        kept = {name: bounded(name, raw[name]) for name in names}
    except ConfigError as error:
        raise TeacherRejected(error.message, code="structure_limit", param=error.param) from error
    return {**kept, "model_type": kind, "num_labels": classes}


def build_huggingface(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], shape: tuple[int, int, int]
) -> Logits:
    """The network with `tensors` as its weights, under their names of today or of the file, in eval mode.

    Memory is asked for only where the file holds as much. Raises TeacherRejected.
    """
    check_layouts(tensors)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            text = f"The weights of {name[:200]} are not finite."
            raise TeacherRejected(text, code="nonfinite_weights", param=name[:200])
    try:
        model, faults = _filled(config, tensors)
        module = Logits(model).eval()
        with torch.no_grad():
            answer = module(torch.zeros(1, *shape)) if not faults else None
    except MemoryError:
        raise
    # Whatever the classes of transformers raise for a config that cannot be.
    except Exception as error:
        text = "The config describes no network that takes these images."
        raise TeacherRejected(text, code="architecture_mismatch", param="config") from error
    if faults:
        text = f"The weights are not those of the config: {'; '.join(faults)}."
        raise TeacherRejected(text, code="architecture_mismatch", param="weights")
    if answer is None or answer.shape != (1, config["num_labels"]):
        text = "The network gives no row of logits."
        raise TeacherRejected(text, code="architecture_mismatch", param="config")
    return module


def _filled(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> tuple[nn.Module, list[str]]:
    """The network, and what keeps the weights from being its own."""
    about = _auto_config().for_model(**config)
    kind = classifier_class(about)
    with torch.device("meta"):
        empty = kind(about)
    needed = sum(p.numel() for p in empty.parameters())
    there = sum(t.numel() for t in tensors.values())
    if needed > MORE_THAN_THERE * there:
        return empty, [f"{needed} parameters instead of {there}"]
    model, found = kind.from_pretrained(
        None,
        config=about,
        state_dict=dict(tensors),
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        dtype=torch.float32,
    )
    faults = [f"{what.removesuffix('_keys')}: {some(sorted(map(str, found[what])))}"
              for what in ("missing_keys", "unexpected_keys", "mismatched_keys") if found[what]]  # fmt: skip
    return model, faults


def _auto_config() -> Any:
    try:
        return auto_config()
    except ImportError as error:
        text = "Hugging Face folders need the package transformers, which is not installed here."
        raise TeacherRejected(text, code="unsupported_format", param="format") from error


def _json(folder: Folder, name: str) -> dict[str, Any]:
    content = folder.read(name, MAX_JSON_BYTES)
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise TeacherRejected(f"{name} is not JSON.", code="corrupt_file", param=name) from error
    if not isinstance(found, dict):
        raise TeacherRejected(f"{name} holds no object.", code="corrupt_file", param=name)
    return found


def _weights(folder: Folder, beside: Path) -> dict[str, Tensor]:
    if WEIGHTS in folder.names:
        names = [WEIGHTS]
    elif INDEX in folder.names:
        shards = _json(folder, INDEX).get("weight_map")
        if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
            raise TeacherRejected("The index of the weights is garbled.", code="corrupt_file", param=INDEX)
        names = sorted(set(shards.values()))
        missing = [name for name in names if name not in folder.names]
        if missing:
            text = f"The archive has no {missing[0][:200]}, which its index names."
            raise TeacherRejected(text, code="corrupt_file", param=INDEX)
    elif PICKLED in folder.names:
        return _pickled(folder, beside)
    else:
        text = "The folder has no model.safetensors and no pytorch_model.bin."
        raise TeacherRejected(text, code="unsupported_format", param=WEIGHTS)
    found: dict[str, Tensor] = {}
    shard = beside / "shard.safetensors"
    for name in names:
        try:
            folder.copy(name, shard)
            tensors, _ = read_safetensors(shard)
        finally:
            shard.unlink(missing_ok=True)  # the mapping stays as long as the tensors
        if set(tensors) & set(found):
            raise TeacherRejected("Two files hold the same tensor.", code="corrupt_file", param=INDEX)
        found |= tensors
    return found


def _pickled(folder: Folder, beside: Path) -> dict[str, Tensor]:
    """The weights as torch.save wrote them: tensors alone, and no code in the pickle is run."""
    path = beside / "weights.pt"
    try:
        folder.copy(PICKLED, path)
        if detect_format(path) != "state_dict_pt":
            text = "The folder's pytorch_model.bin is not what torch.save writes."
            raise TeacherRejected(text, code="corrupt_file", param=PICKLED)
        return read_state_dict_pt(path)[0]
    finally:
        path.unlink(missing_ok=True)


def _input(config: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> InputConfig:
    """Size, mean and std as the preprocessor would have them, the config's size without one."""
    channels = config.get("num_channels", 3)
    side = _sides(preprocessor.get("crop_size")) if preprocessor.get("do_center_crop", True) else None
    side = side or _sides(preprocessor.get("size")) or _sides(config.get("image_size")) or (224, 224)
    mean = std = None
    if preprocessor and preprocessor.get("do_normalize", True):
        mean, std = (preprocessor.get(name) for name in ("image_mean", "image_std"))
    try:
        given = [None if v is None else tuple(float(x) for x in v) for v in (mean, std)]
        return InputConfig((int(channels), *side), given[0], given[1])
    except (ConfigError, TypeError, ValueError) as error:
        text = "The preprocessor's size, mean or std cannot be used; name the teacher's input."
        raise TeacherRejected(text, code="input_required", param="input") from error


def _sides(size: Any) -> tuple[int, int] | None:
    if isinstance(size, Mapping):
        edge = size.get("shortest_edge")
        size = [size.get("height", edge), size.get("width", edge)]
    if isinstance(size, list) and len(size) == 2 and all(type(side) is int for side in size):
        return size[0], size[1]
    return (size, size) if type(size) is int else None
