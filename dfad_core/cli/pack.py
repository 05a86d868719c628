"""`pack`: a network of one's own as an ONNX teacher. It runs the user's code, on the user's machine."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dfad_core.cli.lines import Lines
from dfad_core.contract.config import InputConfig
from dfad_core.contract.errors import ConfigError, ExportError
from dfad_core.formats import load_teacher
from dfad_core.formats.initial import read_weights
from dfad_core.networks.batch_norm import bn_layers

CHECKED_IMAGES = 4
TOLERANCE = 1e-2
"""Largest difference of a logit, as a share of the largest one."""


def run(arguments: argparse.Namespace, lines: Lines) -> int:
    """Build the network, export it by the recipe, and read it back as a service would.

    Raises ConfigError for a network that cannot be built or weights that are not its own, TeacherRejected
    where the file would be refused, ExportError where it cannot be written or answers otherwise.
    """
    input = InputConfig.from_json(arguments.input)
    model = _built(arguments.network)
    if arguments.weights is not None:
        _load(model, arguments.weights)
    model.eval()
    output: Path = arguments.output
    output.parent.mkdir(parents=True, exist_ok=True)
    write_onnx(model, torch.zeros(2, *input.shape), output)
    teacher = load_teacher(output, input=input)
    difference = _difference(model, teacher.module, torch.randn(CHECKED_IMAGES, *input.shape))
    data = {
        "path": str(output),
        "bytes": output.stat().st_size,
        "parameters": sum(p.numel() for p in model.parameters()),
        "bn_layers": len(bn_layers(teacher.module)),
        "num_classes": teacher.num_classes,
        "max_difference": difference,
        "notes": teacher.notes,
    }
    lines.write("result", data)
    return 0


def _built(named: str) -> nn.Module:
    """The network that `FILE.py:NAME` gives: a function without arguments, a class, or the network itself."""
    file, colon, name = named.rpartition(":")
    path = Path(file)
    if not colon or not path.is_file():
        raise ConfigError(
            f"name a file and a function in it, as in model.py:build, not {named}", param="network"
        )
    sys.path.insert(0, str(path.resolve().parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
        made = getattr(module, name)
        model = made if isinstance(made, nn.Module) else made()
    except Exception as error:  # the user's own code raises what it likes
        raise ConfigError(f"{named}: {type(error).__name__}: {error}", param="network") from error
    if not isinstance(model, nn.Module):
        raise ConfigError(f"{named} gives a {type(model).__name__}, not a torch.nn.Module", param="network")
    return model


def _load(model: nn.Module, path: Path) -> None:
    """All of the weights, by name."""
    try:
        model.load_state_dict(read_weights(path))
    except RuntimeError as error:  # PyTorch names every key that does not fit
        raise ConfigError(str(error), param="weights") from error


def write_onnx(model: nn.Module, images: Tensor, output: Path) -> None:
    """Export by the recipe; with a batch of any size where the network allows it, else for one image.

    `images` (2, C, H, W) are examples. Raises ExportError where PyTorch cannot export the network.
    """
    _spell_attention_out(model)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    free: Any = ({0: torch.export.Dim("batch")},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for given, shapes in ((images, free), (images[:1], None)):
            try:
                torch.onnx.export(
                    model, (given,), output, dynamo=True, verbose=False, external_data=False, optimize=False,
                    dynamic_shapes=shapes,
                )  # fmt: skip
                return
            except Exception as error:  # noqa: BLE001  (the exporter's passes raise errors of any type)
                fault = error
    text = f"PyTorch cannot export the network: {fault}"
    raise ExportError(text[:2000], param="network") from fault


def _spell_attention_out(model: nn.Module) -> None:
    """Attention of a network of transformers as products and softmax.

    PyTorch's fused attention gives a Swin other strides than its exporter expects.
    """
    for module in model.modules():
        choose = getattr(module, "set_attn_implementation", None)
        if choose is not None:
            choose("eager")
            return


@torch.no_grad()
def _difference(model: nn.Module, read: nn.Module, images: Tensor) -> float | None:
    """Largest difference of a result; None where the two have different forms, which a note tells.

    A softmax or sigmoid at the network's end is not in what was read. Raises ExportError where it is large.
    """
    results, logits_BK = model(images), read(images)
    if not isinstance(results, Tensor):
        return None
    if results.shape == logits_BK.shape:
        forms = [logits_BK, logits_BK.softmax(1), logits_BK.log_softmax(1)]
    elif results.numel() == len(images) and logits_BK.shape[1] == 2:  # one logit z, read as [0, z]
        forms = [one.reshape(results.shape) for one in (logits_BK[:, 1], logits_BK[:, 1].sigmoid())]
    else:
        return None
    difference = min(float((results - form).abs().max()) for form in forms)
    if difference > TOLERANCE * max(float(results.abs().max()), 1e-3):
        raise ExportError(f"The exported network gives other logits (by up to {difference:.2g}).")
    return difference
