"""Configs of the transformers library's image classifiers: accepted model types, and bounds of the entries.

Needs neither torch nor transformers: the service checks configs, and a worker builds the networks.
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
"""Model types that take images alone and need no other package: of students, and of teachers."""
TEACHER_TYPES = (
    *MODEL_TYPES, "clip", "donut-swin", "hgnet_v2", "ijepa", "metaclip_2", "perceiver", "pp_lcnet", "siglip2"
)  # fmt: skip
"""Model types of teachers."""
SEVERAL_CLASSES = ("deit", "levit", "perceiver")
"""Model types of several classes of transformers; `architectures` names the one."""
VISION = "vision_config"
"""Entry with the settings of the network for images, where another reads text."""
LABELS = ("id2label", "label2id", "num_labels")
FILE_ENTRIES = ("architectures", "dtype", "torch_dtype", "transformers_version", "_name_or_path")
"""Entries that describe the file and not the network."""
MAX_ENTRIES = 200
MAX_NUMBER, MAX_LIST, MAX_TEXT, MAX_BLOCKS = 65_536, 256, 200, 512
MAX_PARAMETERS = 200_000_000
DEPTHS = (
    "depth", "depths", "n_layer", "num_block_repeats", "num_blocks", "num_encoder_blocks",
    "num_hidden_layers", "num_self_attends_per_block", "num_stages", "stage_num_blocks",
    "stage_numb_of_layers",
)  # fmt: skip
"""Entries that count layers: MAX_BLOCKS in all."""
FACTORS, MAX_FACTOR = ("depth_coefficient", "width_coefficient"), 16
"""Entries that multiply others."""


def checked(raw: Mapping[str, Any]) -> JsonObject:
    """A student's config without its classes, which the job decides, and without `FILE_ENTRIES`.

    Raises ConfigError, whose `param` is the entry; `unknown_architecture` for an unknown model type.
    """
    if "auto_map" in raw:
        raise ConfigError("code that a config names is never run", param="auto_map")
    kind = raw.get("model_type")
    if kind not in MODEL_TYPES:
        text = f"must be one of {', '.join(MODEL_TYPES)}"
        raise ConfigError(text, code="unknown_architecture", param="model_type")
    if len(raw) > MAX_ENTRIES:
        raise ConfigError(f"has more than {MAX_ENTRIES} entries", param="model_type")
    return {name: bounded(name, value) for name, value in raw.items() if name not in (*LABELS, *FILE_ENTRIES)}


def bounded(name: str, value: Any, depth: int = 0) -> Any:
    """`value`, if it is within the bounds for an entry. Raises ConfigError (param = `name`)."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float) and abs(value) <= MAX_NUMBER:
        if not (name in DEPTHS and value > MAX_BLOCKS) and not (name in FACTORS and value > MAX_FACTOR):
            return value
    elif isinstance(value, str) and len(value) <= MAX_TEXT:
        return value
    elif isinstance(value, list) and len(value) <= MAX_LIST and depth < 3:
        items = [bounded(name, item, depth + 1) for item in value]
        numbers = [item for item in items if isinstance(item, int | float)]
        if not (name in DEPTHS and sum(numbers) > MAX_BLOCKS):
            return items
    elif isinstance(value, dict) and not value:
        return value
    raise ConfigError("A value of the config is too large, or of a type that no entry has.", param=name)
