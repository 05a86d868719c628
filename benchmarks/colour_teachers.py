"""CIFAR-10 teachers without batch norm: a ViT, a ConvNeXt and a ResNet with group norm.

    python -m benchmarks.colour_teachers --seconds 2400
    python -m benchmarks.colour_teachers --only cifar10-vit --seconds 60 --no-record

Each is trained on nine tenths of the training images within `--seconds` on one thread: crops and mirrors,
AdamW, a one-cycle rate that follows the clock, bfloat16 where the processor computes in it. The loss is the
mean of the cross-entropy with the labels (smoothing 0.1) and, as in DeiT (Touvron et al. 2021, arXiv
2012.12877), of the divergence from the answers of a public ResNet-56 to the same augmented images, where
those agree with the labels. So these networks have learned from a network with batch norm, though they have
none. The training images were compressed again (JPEG), the test images were not.

The files in `results/teachers` are safetensors in float16 that name architecture, mean and deviation
themselves: the service takes them as they are.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.engine.data import DataMissing, count_images, data_dir, data_file, load_images, normalise
from benchmarks.engine.teacher_training import LABEL_SMOOTHING, augmented, one_cycle
from benchmarks.machine_load import MachineLoad
from benchmarks.paper_table import NORMALISATION
from benchmarks.record import RESULTS, append
from dfad_core.contract.config import InputConfig
from dfad_core.formats import load_teacher
from dfad_core.formats.interface import LoadedTeacher
from dfad_core.formats.metadata import StudentMetadata
from dfad_core.formats.safetensors import student_bytes
from dfad_core.formats.whole_file import write_whole
from dfad_core.networks import build_classifier
from dfad_core.networks.folding import folded
from dfad_core.training.runtime import computes_bfloat16

FOLDER = RESULTS / "teachers"
FILE = RESULTS / "colour_teachers.jsonl"
SHAPE = (3, 32, 32)
NUM_CLASSES = 10
INPUT = InputConfig(SHAPE, *NORMALISATION["cifar10"])
PUBLIC_INPUT = InputConfig(SHAPE, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""Of the public ResNets: the mean and deviation of ImageNet."""
PUBLIC = {"cifar10-resnet20-public": "resnet20", "cifar10-resnet56-public": "resnet56"}
"""Name of a file in the data folder -> architecture."""
LABELLER = "cifar10-resnet56-public"
FOLDED = "cifar10-resnet20-folded"
"""The public ResNet-20 with its batch norm folded into the convolutions: the same function without one."""
BATCH, SCORED_AT_ONCE = 128, 512
WEIGHT_DECAY = 0.05
TEMPERATURE = 2.0
"""Of the divergence from the labeller's answers."""


def _conv(channels: int, stride: int = 1) -> list[dict[str, Any]]:
    """A 3x3 convolution and its norm, 16 channels a group."""
    conv = {"type": "conv", "channels": channels, "stride": stride}
    return [conv, {"type": "group_norm", "groups": channels // 16}]


def _resnet(widths: tuple[int, ...]) -> list[dict[str, Any]]:
    """A stem or a strided convolution, and one residual block, for each width."""
    relu = {"type": "relu"}
    layers: list[dict[str, Any]] = []
    for width in widths:
        block = {"type": "residual", "layers": [*_conv(width), relu, *_conv(width)]}
        layers += [*_conv(width, 2 if layers else 1), relu, block, relu]
    return [*layers, {"type": "global_avg_pool"}, {"type": "linear"}]


@dataclass(frozen=True)
class Plan:
    """A network of the catalogue, and the peak of its learning rate."""

    architecture: str
    args: dict[str, Any]
    peak_rate: float


PLANS = {
    "cifar10-vit": Plan(
        "transformers",
        {"config": {"model_type": "vit", "patch_size": 4, "image_size": 32, "hidden_size": 128,
                    "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 384}},
        1e-3,
    ),
    "cifar10-convnext": Plan(
        "transformers",
        {"config": {"model_type": "convnext", "patch_size": 2, "image_size": 32, "num_stages": 2,
                    "hidden_sizes": [64, 128], "depths": [1, 2], "layer_scale_init_value": 1.0}},
        2e-3,
    ),
    "cifar10-groupnorm-resnet": Plan("layers", {"layers": _resnet((32, 64, 128))}, 3e-3),
}  # fmt: skip
TEACHERS = ("cifar10-resnet20-public", FOLDED, "cifar10-resnet56-public", *PLANS)


OTHER_IMAGES = 5_000
"""Images of `other_images`."""


@dataclass(frozen=True)
class Images:
    """Bytes (N, C, H, W) and their classes (N,)."""

    images_BCHW: Tensor
    labels_B: Tensor

    def accuracy(self, module: nn.Module, input: InputConfig) -> float:
        """Share of the images whose largest logit is their class."""
        return float((self.predicted(module, input) == self.labels_B).double().mean())

    @torch.no_grad()
    def predicted(self, module: nn.Module, input: InputConfig) -> Tensor:
        """Class of each image (N,)."""
        assert input.mean is not None
        assert input.std is not None
        x_BCHW = normalise(self.images_BCHW, input.mean, input.std)
        return torch.cat([module.eval()(part).argmax(1) for part in torch.split(x_BCHW, SCORED_AT_ONCE)])


def training_images(folder: Path) -> Images:
    """The first nine tenths of the training images."""
    path = data_file(folder, "cifar10-train.parquet")
    return Images(*load_images(path, count=_first_held_out(path)))


def held_out_images(folder: Path) -> Images:
    """The last tenth of the training images: no teacher of `PLANS` has learned from them."""
    path = data_file(folder, "cifar10-train.parquet")
    return Images(*load_images(path, first=_first_held_out(path)))


def other_images(folder: Path) -> Images | None:
    """The first training images of CIFAR-100, as many as are held out; None where its file is missing.

    They were not compressed again, and no teacher has seen them or their classes.
    """
    try:
        path = data_file(folder, "cifar100-train-0.parquet")
    except DataMissing:
        return None
    return Images(*load_images(path, count=OTHER_IMAGES))


def report_images(folder: Path) -> Images:
    """The test images."""
    return Images(*load_images(data_file(folder, "cifar10-test.parquet")))


def _first_held_out(path: Path) -> int:
    count = count_images(path)
    return count - count // 10


def colour_teacher(name: str, folder: Path | None = None) -> LoadedTeacher:
    """The teacher `name` of `TEACHERS`, in eval mode and float32, with its input.

    `folder` is the data folder, where the public ones are. DataMissing where there is no file.
    """
    if name in PLANS:
        path = FOLDER / f"{name}.safetensors"
        if not path.is_file():
            raise DataMissing(f"{path} does not exist: python -m benchmarks.colour_teachers --only {name}")
        return load_teacher(path)
    source = PUBLIC_SOURCES[name]
    path = data_file(folder or data_dir(), f"teachers/{source}.pt")
    loaded = load_teacher(path, architecture=PUBLIC[source], num_classes=NUM_CLASSES, input=PUBLIC_INPUT)
    if name == FOLDED:
        loaded.module = folded(loaded.module, torch.zeros(2, *SHAPE))
    return loaded


PUBLIC_SOURCES = {**{name: name for name in PUBLIC}, FOLDED: "cifar10-resnet20-public"}
"""Teacher -> the file that holds its weights."""


def network(plan: Plan) -> nn.Module:
    """Freshly initialised, in train mode."""
    module = build_classifier(plan.architecture, num_classes=NUM_CLASSES, input_shape=SHAPE, args=plan.args)
    return module.train()


def train(
    plan: Plan, images: Images, seconds: float, labeller: nn.Module | None, seed: int = 0
) -> tuple[nn.Module, int]:
    """A network trained for `seconds` on one thread, in eval mode, and the images it was shown.

    `labeller` gives soft labels for the augmented images, normalised as `PUBLIC_INPUT` says; without it the
    labels alone count.
    """
    torch.manual_seed(seed)
    module = network(plan).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if plan.architecture == "transformers":
        module.net.set_attn_implementation("eager")  # twice as fast here as the fused kernel
    optimizer = torch.optim.AdamW(module.parameters(), plan.peak_rate, weight_decay=WEIGHT_DECAY, fused=True)
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=computes_bfloat16(torch.device("cpu")))
    presentations = 0
    start = time.monotonic()
    for pixels_BCHW, labels_B in _batches(images, seed):
        for group in optimizer.param_groups:
            group["lr"] = plan.peak_rate * one_cycle(min(1.0, (time.monotonic() - start) / seconds))
        with autocast:
            logits_BK = module(_standardised(pixels_BCHW, INPUT)).float()
        loss = F.cross_entropy(logits_BK, labels_B, label_smoothing=LABEL_SMOOTHING)
        if labeller is not None:
            with autocast, torch.no_grad():
                soft_BK = labeller(_standardised(pixels_BCHW, PUBLIC_INPUT)).float()
            trusted_B = soft_BK.argmax(1) == labels_B
            loss = 0.5 * loss + 0.5 * _divergence(logits_BK[trusted_B], soft_BK[trusted_B])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        presentations += len(labels_B)
        if time.monotonic() - start >= seconds:
            break
    return module.eval(), presentations


def _batches(images: Images, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Augmented batches in [0, 1] with labels, epoch after epoch without end."""
    stream = torch.Generator().manual_seed(seed)
    size = min(BATCH, len(images.labels_B))
    while True:
        order = torch.randperm(len(images.labels_B), generator=stream)
        for rows in torch.split(order[: len(order) // size * size], size):
            pixels_BCHW = images.images_BCHW[rows].float() / 255
            yield augmented(pixels_BCHW, stream, mirror=True), images.labels_B[rows]


def _standardised(pixels_BCHW: Tensor, input: InputConfig) -> Tensor:
    mean_C11, std_C11 = (torch.tensor(values).reshape(-1, 1, 1) for values in (input.mean, input.std))
    return ((pixels_BCHW - mean_C11) / std_C11).contiguous(memory_format=torch.channels_last)


def _divergence(logits_BK: Tensor, soft_BK: Tensor) -> Tensor:
    """T^2 KL(soft || logits) at temperature T, mean over images, 0 without any.

    Hinton et al. 2015, arXiv 1503.02531.
    """
    log_p_BK, log_q_BK = (F.log_softmax(x / TEMPERATURE, dim=1) for x in (soft_BK, logits_BK))
    total = F.kl_div(log_q_BK, log_p_BK, reduction="sum", log_target=True)
    return TEMPERATURE**2 * total / max(1, len(soft_BK))


def store(name: str, module: nn.Module) -> Path:
    """Write the teacher in float16, whole or not at all; the path."""
    plan, path = PLANS[name], FOLDER / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = StudentMetadata(plan.architecture, plan.args, NUM_CLASSES, INPUT)
    write_whole(path, student_bytes(module.half(), metadata))
    return path


def main(arguments: list[str] | None = None) -> None:
    """Train the teachers one after another; a file and a result line each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.colour_teachers", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--only", nargs="+", choices=list(PLANS), default=list(PLANS), metavar="NAME")
    parser.add_argument("--seconds", type=float, default=2400, help="training of each")
    parser.add_argument("--no-labeller", action="store_true", help="learn from the labels alone")
    parser.add_argument("--no-record", action="store_true", help="print, without file and result line")
    parser.add_argument("--data", help="data folder; else DFAD_DATA_DIR, else ../shared/data")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        folder = data_dir(options.data)
        images, held_out = training_images(folder), held_out_images(folder)
        report = None if options.no_record else report_images(folder)
        labeller = None if options.no_labeller else colour_teacher(LABELLER, folder).module
    except DataMissing as error:
        sys.exit(f"benchmarks.colour_teachers: {error}")
    if labeller is not None:
        labeller = folded(labeller, torch.zeros(2, *SHAPE)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for name in options.only:
        load = MachineLoad()
        start = time.monotonic()
        module, presentations = train(PLANS[name], images, options.seconds, labeller)
        seconds, others = time.monotonic() - start, load.figures()
        if not options.no_record:
            store(name, module)
            module = colour_teacher(name).module  # what is scored is what was stored
        figures = {
            "benchmark": "colour_teachers",
            "teacher": name,
            "labeller": None if labeller is None else LABELLER,
            **({} if report is None else {"accuracy": round(report.accuracy(module, INPUT), 4)}),
            "held_out_accuracy": round(held_out.accuracy(module, INPUT), 4),
            "parameters": sum(p.numel() for p in module.parameters()),
            "seconds": round(seconds, 1),
            "epochs": round(presentations / len(images.labels_B), 1),
            "images_per_second": round(presentations / seconds, 1),
            **others,
        }
        if not options.no_record:
            append(FILE, figures, torch.device("cpu"))
        print("COLOUR_TEACHER", *(f"{key}={value}" for key, value in figures.items()), flush=True)


if __name__ == "__main__":
    main()
