"""Hugging Face folders in a zip or tar: teachers, read as data alone, and students.

The network is one of transformers' own image classifiers or one of timm; code in a folder is never read. A
student is written as a zip file of the folder that transformers loads.
"""

from __future__ import annotations

import io
import json
import math
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from dfad_core.contract.config import InputConfig
from dfad_core.contract.errors import ConfigError, ExportError, MultiLabelRejected, TeacherRejected
from dfad_core.contract.inspection import assumed_input
from dfad_core.contract.own_network import OWN_NETWORK
from dfad_core.contract.transformers_config import (
    FILE_ENTRIES,
    LABELS,
    MAX_ENTRIES,
    SEVERAL_CLASSES,
    TEACHER_TYPES,
    VISION,
    bounded,
)
from dfad_core.formats import state_dict, timm_folder
from dfad_core.formats.archive import Folder, may_hold
from dfad_core.formats.check import TOLERANCE, require_same
from dfad_core.formats.class_names import found_in
from dfad_core.formats.detect import detect_format
from dfad_core.formats.interface import ONE_LOGIT, ExportTask, Hints, LoadedTeacher, Source
from dfad_core.formats.match import check_layouts, first_names
from dfad_core.formats.metadata import StudentMetadata
from dfad_core.formats.safetensors import read_safetensors
from dfad_core.hooks import signs_of_life
from dfad_core.networks.from_transformers import Logits, auto_config, classifier_class

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLE = "pytorch_model.bin"
MAX_JSON_BYTES = 16 * 2**20
MAX_CLASSES = 100_000
MAX_CLASS_NAME = 100
PARTS = (VISION, "text_config")
"""Entries with settings of their own; those for text are not needed."""
MAX_SHARING = 1.5
"""Largest ratio of parameters to stored numbers: some networks share weights that are stored once."""
ASSUMED_SIZE = (224, 224)
"""Height and width of images where nothing tells them."""
OTHER_TASKS = {
    "ForObjectDetection": "detects objects",
    "ForUniversalSegmentation": "labels pixels",
    "ForSemanticSegmentation": "labels pixels",
    "ForImageSegmentation": "labels pixels",
    "ForDepthEstimation": "estimates depth",
    "ForAudioClassification": "takes audio",
    "ForCTC": "takes audio",
    "ForSequenceClassification": "takes text",
    "ForTokenClassification": "takes text",
    "ForCausalLM": "writes text",
    "ForConditionalGeneration": "writes text",
    "ForMaskedLM": "writes text",
    "ForVideoClassification": "takes videos",
}
"""What classes of transformers do whose names end so."""
ZIP_TIMESTAMP = (1980, 1, 1, 0, 0, 0)
"""Fixed, so that equal students give byte-identical archives."""


def recognises(path: Path) -> bool:
    """Whether the archive is a folder with a config.json.

    Raises TeacherRejected: the codes of `Folder`, for a tar and for a zip with a file of that name.
    """
    is_there = may_hold(path, lambda name: name.rpartition("/")[2] == CONFIG)
    return is_there and CONFIG in Folder(path, CONFIG).names


def load(path: Path, hints: Hints) -> LoadedTeacher:
    """The network that the config describes, with the folder's weights.

    Raises TeacherRejected: `remote_code_refused`, `unsupported_architecture` with the model type,
    `architecture_mismatch` where the weights do not fit the config, `multi_label`, `not_a_classifier`,
    `structure_limit`, `corrupt_file`.
    """
    hints.refuse_architecture("A Hugging Face folder")
    folder = Folder(path, CONFIG)
    raw = _read_json(folder, CONFIG)
    _check_kind(raw)
    if timm_folder.is_of_timm(raw):
        return timm_folder.load(raw, _weights(folder, path.parent), hints)
    config = checked_config(raw)
    preprocessor = _read_json(folder, PREPROCESSOR) if PREPROCESSOR in folder.names else {}
    input, assumed = (hints.input, False) if hints.input is not None else _input(config, preprocessor)
    module = _build(config, _weights(folder, path.parent), input.shape)
    classes = max(int(config["num_labels"]), 2)
    hints.check_classes("The folder", classes)
    notes = [] if input.mean is not None else ["no preprocessor_config.json: mean and std are not known"]
    unread = sorted(n for n in folder.names if n.endswith((".py", ".bin", ".pkl", ".pt", ".pth")))
    if WEIGHTS not in folder.names and INDEX not in folder.names:
        unread.remove(PICKLE)
    if assumed:
        notes.append(assumed_input(input.shape))
    if config["num_labels"] == 1:
        notes.append(ONE_LOGIT)
    if unread:
        notes.append(f"not read: {', '.join(unread)[:200]}")
    architecture = f"huggingface:{config['model_type']}"
    source = Source(config, module.net.state_dict())
    return LoadedTeacher(
        module,
        architecture,
        {},
        classes,
        input,
        notes=notes,
        source=source,
        input_assumed=assumed,
        class_names=found_in(raw, classes),
    )


def rebuild(document: Any, tensors: Mapping[str, Tensor], shape: tuple[int, int, int]) -> nn.Module:
    """The network of a Source; its document is the checked config. Raises TeacherRejected."""
    if not isinstance(document, Mapping):
        raise TeacherRejected("The network's config is not an object.", code="corrupt_file")
    return _build(checked_config(document), tensors, shape)


def checked_config(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a config.json that the network is built from: plain values that transformers knows for
    the model type, and `num_labels`. Raises TeacherRejected."""
    _check_kind(raw)
    kind = raw.get("model_type")
    if kind not in TEACHER_TYPES:
        raise _unknown_network(raw)
    labels = raw.get("id2label") or {}
    classes = len(labels) if isinstance(labels, Mapping) and labels else raw.get("num_labels", 2)
    if type(classes) is not int or not 1 <= classes <= MAX_CLASSES:
        raise TeacherRejected(
            "The config has no valid number of classes.", code="corrupt_file", param="id2label"
        )
    defaults = _auto_config().for_model(str(kind)).to_dict()
    try:
        settings = _known(raw, defaults)
        if VISION in defaults:
            settings[VISION] = _known(raw.get(VISION), defaults[VISION])
    except ConfigError as error:
        raise TeacherRejected(error.message, code="structure_limit", param=error.param) from error
    named = raw.get("architectures")
    if kind in SEVERAL_CLASSES and isinstance(named, list) and len(named) == 1:
        settings["architectures"] = [str(named[0])[:MAX_CLASS_NAME]]
    return {**settings, "model_type": kind, "num_labels": classes}


def _check_kind(raw: Mapping[str, Any]) -> None:
    """Refuse code, quantised weights, and what is no classifier into one class. Raises TeacherRejected."""
    if "auto_map" in raw:
        text = f"The folder's network is code of its own (auto_map), which is never run. {OWN_NETWORK}"
        raise TeacherRejected(text, code="remote_code_refused", param="auto_map")
    if raw.get("quantization_config") is not None:
        raise TeacherRejected(
            "Quantised folders are not supported.", code="tensor_layout", param="quantization_config"
        )
    problem = raw.get("problem_type")
    if problem == "multi_label_classification":
        raise MultiLabelRejected
    if problem == "regression":
        text = "The network estimates a number (problem_type regression); only classifiers are read."
        raise TeacherRejected(text, code="not_a_classifier", param="problem_type")


def _known(raw: Any, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of `raw` that transformers knows, but for classes and parts. Raises ConfigError."""
    if not isinstance(raw, Mapping) or len(raw) > MAX_ENTRIES:
        raise ConfigError(f"must be an object of at most {MAX_ENTRIES} entries", param=VISION)
    left_out = {*LABELS, *FILE_ENTRIES, *PARTS}
    return {n: bounded(n, value) for n, value in raw.items() if n in defaults and n not in left_out}


def _unknown_network(raw: Mapping[str, Any]) -> TeacherRejected:
    """Why a config of none of TEACHER_TYPES is refused, and what to do."""
    kind, classes = raw.get("model_type"), raw.get("architectures")
    names = [str(name) for name in classes] if isinstance(classes, list) else []
    what = next((what for end, what in OTHER_TASKS.items() if any(n.endswith(end) for n in names)), None)
    if what is not None:
        text = f"The folder's {names[0][:64]} {what}; only image classifiers are read."
    elif "keras_version" in raw or raw.get("module") == "keras" or "class_name" in raw:
        text = "The archive is a Keras model: export it to ONNX (model.export(..., format='onnx'))."
        return TeacherRejected(text, code="unsupported_format")
    elif kind == "imagegpt":
        text = (
            "imagegpt takes colours by their number and not pixels, so that nothing can be learned from it."
        )
    elif not isinstance(kind, str):
        text = f"The config.json names no model type of transformers (`model_type`). {OWN_NETWORK}"
    else:
        text = f"The model type {kind[:64]} is not among the image classifiers that are read. {OWN_NETWORK}"
    return TeacherRejected(text, code="unsupported_architecture", param="model_type")


def _build(config: Mapping[str, Any], tensors: Mapping[str, Tensor], shape: tuple[int, int, int]) -> Logits:
    """The network in eval mode, with `tensors` as its weights. Older names of weights are converted.

    Memory is allocated only if the file holds as many numbers. Raises TeacherRejected.
    """
    check_layouts(tensors)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            text = f"The weights of {name[:200]} are not finite."
            raise TeacherRejected(text, code="nonfinite_weights", param=name[:200])
    try:
        model, faults = _load_weights(config, tensors)
        module = Logits(model).eval()
        with torch.no_grad():
            logits_BK = module(torch.zeros(1, *shape)) if not faults else None
    except MemoryError:
        raise
    # The classes of transformers raise errors of any type for an invalid config.
    except Exception as error:
        text = "The config describes no network that takes these images."
        raise TeacherRejected(text, code="architecture_mismatch", param="config") from error
    if faults:
        text = f"The weights do not fit the config: {'; '.join(faults)}."
        raise TeacherRejected(text, code="architecture_mismatch", param="weights")
    if logits_BK is None or logits_BK.shape != (1, max(config["num_labels"], 2)):
        text = "The network does not give one logit for each class."
        raise TeacherRejected(text, code="architecture_mismatch", param="config")
    return module


def _load_weights(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> tuple[nn.Module, list[str]]:
    """The network, and the ways in which the weights do not fit it."""
    settings = _auto_config().for_model(**config)
    network = classifier_class(settings)
    with torch.device("meta"):
        empty = network(settings)
    needed = sum(p.numel() for p in empty.parameters())
    stored = sum(t.numel() for t in tensors.values())
    if needed > MAX_SHARING * stored:
        return empty, [f"{needed} parameters instead of {stored}"]
    model, loading = network.from_pretrained(
        None,
        config=settings,
        state_dict=dict(tensors),
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        dtype=torch.float32,
    )
    lists = {
        kind: sorted(map(str, loading[f"{kind}_keys"])) for kind in ("missing", "unexpected", "mismatched")
    }
    return model, [f"{kind}: {first_names(names)}" for kind, names in lists.items() if names]


def _auto_config() -> Any:
    try:
        return auto_config()
    except ImportError as error:
        text = "Hugging Face folders need the package transformers, which is not installed here."
        raise TeacherRejected(text, code="unsupported_format", param="format") from error


def _read_json(folder: Folder, name: str) -> dict[str, Any]:
    content = folder.read(name, MAX_JSON_BYTES)
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise TeacherRejected(f"{name} is not JSON.", code="corrupt_file", param=name) from error
    if not isinstance(value, dict):
        raise TeacherRejected(f"{name} is not a JSON object.", code="corrupt_file", param=name)
    return value


def _weights(folder: Folder, scratch: Path) -> dict[str, Tensor]:
    """All tensors of the folder, unpacked into `scratch` one file at a time."""
    if WEIGHTS in folder.names:
        names = [WEIGHTS]
    elif INDEX in folder.names:
        shards = _read_json(folder, INDEX).get("weight_map")
        if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
            raise TeacherRejected("The index of the weights is invalid.", code="corrupt_file", param=INDEX)
        names = sorted(set(shards.values()))
        missing = [name for name in names if name not in folder.names]
        if missing:
            text = f"The archive has no file {missing[0][:200]}, which its index names."
            raise TeacherRejected(text, code="corrupt_file", param=INDEX)
    elif PICKLE in folder.names:
        return _pickle_weights(folder, scratch)
    else:
        text = "The folder has no model.safetensors and no pytorch_model.bin."
        raise TeacherRejected(text, code="unsupported_format", param=WEIGHTS)
    weights: dict[str, Tensor] = {}
    shard = scratch / "shard.safetensors"
    for name in names:
        try:
            folder.copy(name, shard)
            tensors, _ = read_safetensors(shard)
        finally:
            shard.unlink(missing_ok=True)  # the mapping stays as long as the tensors
        if set(tensors) & set(weights):
            raise TeacherRejected("Two files contain the same tensor.", code="corrupt_file", param=INDEX)
        weights |= tensors
    return weights


def _pickle_weights(folder: Folder, scratch: Path) -> dict[str, Tensor]:
    """The tensors of the file that torch.save wrote; no code in the pickle is run."""
    path = scratch / "weights.pt"
    try:
        folder.copy(PICKLE, path)
        if detect_format(path) != "state_dict_pt":
            text = "The folder's pytorch_model.bin is not a file of torch.save."
            raise TeacherRejected(text, code="corrupt_file", param=PICKLE)
        return state_dict.read_tensors(path)[0]
    finally:
        path.unlink(missing_ok=True)


def _input(config: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> tuple[InputConfig, bool]:
    """Size, mean and std of the preprocessor; without a preprocessor, the config's size.

    Also whether neither tells a size, and ASSUMED_SIZE stands for it.
    """
    config = {**(config.get(VISION) or {}), **config}
    channels = config.get("num_channels", 3)
    side = _sides(preprocessor.get("crop_size")) if preprocessor.get("do_center_crop", True) else None
    side = side or _sides(preprocessor.get("size")) or _sides(config.get("image_size")) or _patched(config)
    assumed = side is None
    mean = std = None
    if preprocessor and preprocessor.get("do_normalize", True):
        mean, std = (preprocessor.get(name) for name in ("image_mean", "image_std"))
    try:
        shape = [channels, *(side or ASSUMED_SIZE)]
        return InputConfig.from_json({"shape": shape, "mean": mean, "std": std}), assumed
    except ConfigError as error:
        text = "The preprocessor's size, mean or std is invalid; name the teacher's input."
        raise TeacherRejected(text, code="input_required", param="input") from error


def _patched(config: Mapping[str, Any]) -> tuple[int, int] | None:
    """The square image of `num_patches` patches, where the config names that number and not a size."""
    number, side = config.get("num_patches"), config.get("patch_size")
    if type(number) is not int or type(side) is not int or number < 1:
        return None
    return (side * math.isqrt(number),) * 2


def _sides(size: Any) -> tuple[int, int] | None:
    if isinstance(size, Mapping):
        edge = size.get("shortest_edge")
        size = [size.get("height", edge), size.get("width", edge)]
    if isinstance(size, list) and len(size) == 2 and all(type(side) is int for side in size):
        return size[0], size[1]
    return (size, size) if type(size) is int else None


def write(task: ExportTask) -> tuple[bytes, dict[str, Any]]:
    """A zip of config.json, model.safetensors and preprocessor_config.json, loaded again and compared.

    Raises ExportError for a student that is no network of transformers.
    """
    with signs_of_life(task.between):
        content = _student_bytes(task.student, task.metadata)
        loaded = read_student(content)
    comparison = require_same("huggingface", task.student, loaded, task.checked_BCHW, task.between)
    return content, {"tolerance": TOLERANCE, **comparison.figures()}


def _student_bytes(student: nn.Module, metadata: StudentMetadata) -> bytes:
    """A zip of config.json, model.safetensors and preprocessor_config.json.

    Raises ExportError for a student that is no network of transformers.
    """
    if not isinstance(student, Logits):
        raise ExportError("The student is no network of transformers.", param="huggingface")
    settings: Any = student.net.config
    config = settings.to_dict() | {"architectures": [type(student.net).__name__]}
    config.pop("_name_or_path", None)
    if names := metadata.class_names:
        config["id2label"] = {str(number): name for number, name in enumerate(names)}
        config.pop("label2id", None)
        if len(set(names)) == len(names):
            config["label2id"] = {name: number for number, name in enumerate(names)}
    tensors = {n: t.detach().cpu().contiguous() for n, t in student.net.state_dict().items()}
    files = {
        CONFIG: _to_json(config),
        WEIGHTS: save(tensors, {"format": "pt"}),
        PREPROCESSOR: _to_json(_preprocessor(metadata)),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, ZIP_TIMESTAMP), content)
    return buffer.getvalue()


def read_student(content: bytes) -> nn.Module:
    """The network that transformers itself loads from the zip: images to logits, in eval mode."""
    auto_config()
    from transformers import AutoModelForImageClassification

    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in (CONFIG, WEIGHTS, PREPROCESSOR):
                Path(folder, name).write_bytes(archive.read(name))
        model = AutoModelForImageClassification.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32
        )
        # The weights may be mapped from the file, which is deleted next.
        state: dict[str, Tensor] = {n: t.clone() for n, t in model.state_dict().items()}
        model.load_state_dict(state, assign=True)
    return Logits(model).eval()


def _to_json(value: object) -> bytes:
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
