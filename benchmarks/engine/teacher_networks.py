"""Classifiers of public libraries, freshly initialised: what `benchmarks.teacher_files` writes and reads.

Those of torchvision and timm are the real ones, with ten classes; those of transformers have every part of
the real ones in a small size.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

CLASSES = 10
TORCHVISION = (
    "resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "vgg16_bn",
    "densenet121", "convnext_tiny", "vit_b_16", "swin_t", "regnet_y_400mf", "shufflenet_v2_x1_0",
)  # fmt: skip
TIMM = (
    "resnet18", "resnet10t", "seresnet18", "tf_efficientnet_b0", "efficientnet_lite0",
    "mobilenetv3_small_100", "mobilenetv4_conv_small", "regnetx_002", "regnety_002", "convnext_atto",
    "convnextv2_atto", "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224",
    "swin_tiny_patch4_window7_224", "mixer_s32_224", "levit_128s", "mobilevit_xxs", "edgenext_xx_small",
    "eca_nfnet_l0", "ghostnet_100",
)  # fmt: skip
"""Of more than ten families."""

_VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
        "image_size": 32, "patch_size": 8}  # fmt: skip
_DINO = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "mlp_ratio": 2,
         "image_size": 28, "patch_size": 14}  # fmt: skip
_TEXT = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 32,
         "vocab_size": 100}  # fmt: skip
_FOUR: dict[str, Any] = {"depths": [1, 1, 1, 1], "image_size": 64}
_PYRAMID = {**_FOUR, "hidden_sizes": [8, 16, 24, 32]}
_PVT = {**_FOUR, "hidden_sizes": [16, 32, 40, 64]}
_SWIN = {**_FOUR, "embed_dim": 16, "num_heads": [1, 2, 4, 4], "window_size": 2}
_RESNET = {"embedding_size": 16, "hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 1, 1]}
_LEVIT = {"hidden_sizes": [32, 48, 64], "num_attention_heads": [2, 2, 2], "depths": [1, 1, 1],
          "key_dim": [8, 8, 8], "image_size": 64}  # fmt: skip
_PERCEIVER = {"num_latents": 8, "d_latents": 32, "d_model": 32, "num_blocks": 1,
              "num_self_attends_per_block": 1, "num_self_attention_heads": 2,
              "num_cross_attention_heads": 1, "image_size": 32}  # fmt: skip
CONFIGS: Mapping[str, dict[str, Any]] = {
    "beit": _VIT, "data2vec-vision": _VIT, "deit": _VIT, "vit": _VIT, "vit_msn": _VIT, "ijepa": _VIT,
    "dinov2": _DINO, "dinov2_with_registers": _DINO,
    "bit": {**_RESNET, "num_groups": 8},
    "clip": {"vision_config": _VIT, "text_config": _TEXT, "projection_dim": 32},
    "metaclip_2": {"vision_config": _VIT, "text_config": _TEXT, "projection_dim": 32},
    "siglip": {"vision_config": _VIT, "text_config": _TEXT},
    "siglip2": {"vision_config": {**_VIT, "num_patches": 16}, "text_config": _TEXT},
    "convnext": _PYRAMID, "convnextv2": _PYRAMID,
    "cvt": {"embed_dim": [16, 32, 48], "depth": [1, 2, 3], "num_heads": [1, 2, 3]},
    "dinat": {"embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 2]},
    "donut-swin": _SWIN, "swin": _SWIN, "swinv2": _SWIN,
    "efficientnet": {"width_coefficient": 0.25, "depth_coefficient": 0.25, "image_size": 64,
                     "hidden_dim": 320},
    "focalnet": {**_FOUR, "embed_dim": 16},
    "hgnet_v2": {},
    "hiera": {**_FOUR, "embed_dim": 16, "num_heads": [1, 2, 4, 8], "image_size": [64, 64]},
    "imagegpt": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "vocab_size": 65},
    "levit": _LEVIT,
    "mobilenet_v1": {"depth_multiplier": 0.25, "image_size": 64},
    "mobilenet_v2": {"depth_multiplier": 0.35, "image_size": 64},
    "mobilevit": {"hidden_sizes": [24, 32, 40], "neck_hidden_sizes": [8, 16, 24, 32, 40, 48, 64],
                  "image_size": 64},
    "mobilevitv2": {"width_multiplier": 0.5, "image_size": 64},
    "perceiver": _PERCEIVER,
    "poolformer": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]},
    "pp_lcnet": {"scale": 0.25},
    "pvt": _PVT, "pvt_v2": _PVT, "segformer": _PVT,
    "regnet": {**_RESNET, "groups_width": 8},
    "resnet": {**_RESNET, "layer_type": "basic"},
    "swiftformer": {"depths": [1, 1, 1, 1], "embed_dims": [16, 24, 32, 40], "image_size": 64},
    "textnet": {},
    "timm_wrapper": {"architecture": "resnet10t"},
}  # fmt: skip
"""Small settings of each model type that transformers lists for image classification."""
LARGE = ("shieldgemma2",)
"""Model types with a language model of billions of parameters, of which no small one can be made."""


class Logits(nn.Module):
    """A network of transformers as its users export it: images to logits."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixel_values: Tensor) -> Tensor:
        answer = self.net(pixel_values=pixel_values)
        logits_BK: Tensor = answer.logits if hasattr(answer, "logits") else answer.last_hidden_state
        return logits_BK


class LogitsOfPatches(Logits):
    """The same for siglip2, which takes a row of pixels for each square of an image."""

    def forward(self, pixel_values: Tensor) -> Tensor:
        config: Any = self.net.config
        side = config.vision_config.patch_size
        rows, columns = (size // side for size in pixel_values.shape[2:])
        squares_BNP = nn.functional.unfold(pixel_values, side, stride=side).transpose(1, 2)
        # Of a square all reds stand first, of siglip2's all colours of a pixel.
        batch, number, _ = squares_BNP.shape
        pixels_BNP = squares_BNP.reshape(batch, number, -1, side * side).transpose(2, 3).flatten(2)
        shapes = torch.tensor([[rows, columns]]).expand(batch, 2)
        logits: Tensor = self.net(pixel_values=pixels_BNP, spatial_shapes=shapes).logits
        return logits


@dataclass(frozen=True)
class Network:
    """A classifier in eval mode, and what a folder of it is written from."""

    module: nn.Module
    """Images (B, C, H, W) to logits (B, CLASSES)."""
    shape: tuple[int, int, int]
    inner: nn.Module
    """The library's own object."""


def names() -> Iterator[str]:
    """Of all networks, as `torchvision:<name>`, `timm:<name>`, `transformers:<class>` and `onnx:<file>`."""
    yield from (f"torchvision:{name}" for name in TORCHVISION)
    yield from (f"timm:{name}" for name in TIMM)
    yield from (f"transformers:{kind}" for _, kind in transformers_classes())
    yield from (f"onnx:{path.stem}" for path in light_models())


def transformers_classes() -> list[tuple[str, str]]:
    """Model type and name of each class that transformers lists for image classification."""
    auto: Any = importlib.import_module("transformers.models.auto.modeling_auto")
    listed = auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES.items()
    return [
        (kind, name)
        for kind, classes in listed
        for name in (classes if isinstance(classes, tuple) else (classes,))
    ]


def light_models() -> list[Path]:
    """The files of onnx's own light models, of 224 by 224 pixels."""
    package = Path(str(importlib.import_module("onnx").__file__)).parent
    return sorted((package / "backend/test/data/light").glob("*.onnx"))


def build(name: str) -> Network:
    """The network, with statistics and no two weights alike, as after a training.

    Raises any error of its library.
    """
    torch.manual_seed(0)
    library, _, own = name.partition(":")
    if library == "transformers":
        network = _of_transformers(own)
    elif library == "timm":
        module = importlib.import_module("timm").create_model(own, num_classes=CLASSES)
        network = Network(module, tuple(module.pretrained_cfg["input_size"]), module)
    else:
        module = importlib.import_module("torchvision.models").get_model(own, num_classes=CLASSES)
        network = Network(module, (3, 224, 224), module)
    for module in network.module.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    with torch.no_grad():
        for (
            parameter
        ) in network.module.parameters():  # many begin as zeros or ones, and files store those once
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    network.module.eval()
    return network


def _of_transformers(class_name: str) -> Network:
    transformers: Any = importlib.import_module("transformers")
    kind = next(kind for kind, name in transformers_classes() if name == class_name)
    if kind in LARGE:
        raise NotImplementedError(f"{kind} is a language model of billions of parameters")
    settings = dict(CONFIGS[kind])
    config = transformers.AutoConfig.for_model(kind, **settings, num_labels=CLASSES)
    inner = getattr(transformers, class_name)(config)
    size = {**settings.get("vision_config", {}), **settings}.get("image_size", 64)
    side = size[0] if isinstance(size, list) else size
    as_exported = LogitsOfPatches if kind == "siglip2" else Logits
    return Network(as_exported(inner), (3, side, side), inner)
