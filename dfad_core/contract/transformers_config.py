"""Configs of transformers' image classifiers: which networks are known, and what may stand in them.

Torch-free, and without transformers itself: a service checks with it what only a worker can build.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dfad_core.contract.errors import ConfigError
from dfad_core.contract.serialization import JsonObject

NAME = "transformers"
MODEL_TYPES = (
    "beit", "bit", "convnext", "convnextv2", "cvt", "data2vec-vision", "deit", "dinov2",
    "dinov2_with_registers", "efficientnet", "focalnet", "hiera", "levit", "mobilenet_v1",
    "mobilenet_v2", "mobilevit", "mobilevitv2", "poolformer", "pvt", "pvt_v2", "regnet", "resnet",
    "segformer", "siglip", "swiftformer", "swin", "swinv2", "textnet", "vit", "vit_msn",
)  # fmt: skip
"""Networks of images alone that need nothing but transformers."""
LABELS = ("id2label", "label2id", "num_labels")
NOT_A_NETWORKS = ("architectures", "dtype", "torch_dtype", "transformers_version", "_name_or_path")
MAX_ENTRIES = 200
MAX_NUMBER, MAX_LIST, MAX_TEXT, MAX_BLOCKS = 65_536, 256, 200, 512
MAX_PARAMETERS = 200_000_000


def checked(raw: Mapping[str, Any]) -> JsonObject:
    """A student's config without what it is not for it to say: its classes, its weights' type.

    Raises ConfigError, whose `param` is the entry; `unknown_architecture` for a model type not known.
    """
    if "auto_map" in raw:
        raise ConfigError("code that a config names is never run", param="auto_map")
    kind = raw.get("model_type")
    if kind not in MODEL_TYPES:
        known = ", ".join(MODEL_TYPES)
        raise ConfigError(f"must be one of {known}", code="unknown_architecture", param="model_type")
    if len(raw) > MAX_ENTRIES:
        raise ConfigError(f"has more than {MAX_ENTRIES} entries", param="model_type")
    return {
        name: bounded(name, value) for name, value in raw.items() if name not in (*LABELS, *NOT_A_NETWORKS)
    }


def bounded(name: str, value: Any, depth: int = 0) -> Any:
    """`value`, if a network can need it. Raises ConfigError (param = `name`)."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float) and abs(value) <= MAX_NUMBER:
        if not (name in ("num_hidden_layers", "depths") and value > MAX_BLOCKS):
            return value
    elif isinstance(value, str) and len(value) <= MAX_TEXT:
        return value
    elif isinstance(value, list) and len(value) <= MAX_LIST and depth < 3:
        return [bounded(name, one, depth + 1) for one in value]
    elif isinstance(value, dict) and not value:
        return value
    raise ConfigError("A value of the config is larger than any network needs.", param=name)
