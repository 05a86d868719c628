"""Which files of public libraries' classifiers are read as teachers, and whether they are read right.

python -m benchmarks.teacher_files                            # all of them, each in a process of its own
python -m benchmarks.teacher_files --only timm:resnet18

Each network is written as a state dict, as the library's own folder and as ONNX: by PyTorch's default call,
by the recipe of `dfad_core.contract.own_network` (its call; where that does not give a file that is read,
its command), and traced. A line of a form says whether it is read;
whether parameters, batch norm and logits are those of the network; or the sentence with which it is refused.
Needs torchvision and timm.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.engine.teacher_networks import Network, build, light_models, names
from benchmarks.engine.torchvision_alone import import_torchvision
from benchmarks.record import RESULTS, append
from dfad_core.cli.pack import write_onnx
from dfad_core.contract.config import InputConfig
from dfad_core.contract.errors import DfadError
from dfad_core.formats import LoadedTeacher, load_teacher
from dfad_core.networks.batch_norm import bn_layers

FILE = RESULTS / "teacher_files.jsonl"
RECIPE = "ONNX by the recipe"
FORMS = ("state dict", "folder", "ONNX", RECIPE, "ONNX traced")
Writer = Callable[[Network, Path], Path | None]
TIMEOUT_SECONDS = 1200.0
IMAGES = 4
TOLERANCE = 1e-3
"""Largest difference of a logit, as a share of the largest one."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="one network, in this process")
    parser.add_argument("--output", type=Path, default=FILE)
    arguments = parser.parse_args()
    if arguments.only is not None:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        logging.disable(logging.WARNING)
        warnings.simplefilter("ignore")
        import_torchvision()
        for line in lines_of(arguments.only):
            append(arguments.output, {"benchmark": "teacher_files", **line}, torch.device("cpu"))
        return
    for name in names():
        command = [sys.executable, "-m", "benchmarks.teacher_files", "--only", name]
        done = subprocess.run(
            [*command, "--output", str(arguments.output)], check=False, timeout=TIMEOUT_SECONDS
        )
        print(name, "done" if done.returncode == 0 else f"ended with {done.returncode}", flush=True)


def lines_of(name: str) -> list[dict[str, Any]]:
    """One line a form; one line alone where the network cannot be made."""
    library, _, own = name.partition(":")
    about = {"library": library, "network": own}
    if library == "onnx":
        path = next(path for path in light_models() if path.stem == own)
        return [about | {"form": "ONNX"} | _read(path, None, _runtime(path), (3, 224, 224))]
    try:
        network = build(name)
    except Exception as error:  # noqa: BLE001  (of the library, which lacks something here)
        return [about | {"form": "none", "made": False, "sentence": _first_line(error)}]
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for form in FORMS if _takes_images(network) else FORMS[:2]:
            line = _line(name, network, form, WRITERS[form], Path(folder))
            if form == RECIPE and line is not None and not line.get("read"):
                packed = _line(name, network, form, _packed, Path(folder))
                line = packed | {"packed": True} if packed is not None and packed.get("read") else line
            if line is not None:
                lines.append(about | line)
    return lines


def _line(name: str, network: Network, form: str, write: Writer, folder: Path) -> dict[str, Any] | None:
    """The network in a form; None where its library has no such form."""
    try:
        path = write(network, folder)
    except Exception as error:  # noqa: BLE001  (the exporters raise errors of any type)
        return {"form": form, "made": False, "sentence": _first_line(error)}
    if path is None:
        return None
    named = name if form == "state dict" and not name.startswith("transformers:") else None
    return {"form": form} | _read(path, network, network.module, network.shape, named)


def _takes_images(network: Network) -> bool:
    """Whether it takes pixels; others are not exported, since no file of theirs could be a teacher."""
    try:
        with torch.no_grad():
            network.module(torch.zeros(1, *network.shape))
    except (RuntimeError, TypeError, ValueError):
        return False
    return True


def _read(
    path: Path,
    network: Network | None,
    logits: Callable[[Tensor], Tensor],
    shape: tuple[int, int, int],
    named: str | None = None,
) -> dict[str, Any]:
    """What reading gave. `named` is the architecture for a file that is not recognised without it."""
    input = InputConfig(shape)
    result: dict[str, Any] = {"made": True, "bytes": path.stat().st_size}
    try:
        try:
            teacher = load_teacher(path, input=input)
        except DfadError:
            if named is None:
                raise
            teacher = load_teacher(path, architecture=named, input=input)
            result["named"] = True
    except DfadError as error:
        return result | {"read": False, "code": error.code, "sentence": error.message}
    except Exception as error:  # noqa: BLE001  (what this looks for: an error that no user should see)
        return result | {"read": False, "code": "crash", "sentence": _first_line(error)}
    result |= {"read": True, "architecture": teacher.architecture, **_compared(teacher, logits, shape)}
    if network is not None:
        own, kept = len(bn_layers(network.module)), len(bn_layers(teacher.module))
        result |= {
            "parameters": _parameters(network.module),
            "parameters_read": _parameters(teacher.module),
            "bn_layers": own,
            "bn_layers_read": kept,
        }
    return result | {"notes": teacher.notes}


@torch.no_grad()
def _compared(
    teacher: LoadedTeacher, logits: Callable[[Tensor], Tensor], shape: tuple[int, int, int]
) -> dict[str, Any]:
    """Largest difference of the results on random images, as a share of the largest result."""
    x_BCHW = torch.randn(IMAGES, *shape)
    expected = torch.cat([logits(x_CHW[None]).reshape(1, -1) for x_CHW in x_BCHW])
    found = teacher.module(x_BCHW)
    if found.shape != expected.shape:
        return {"outputs_equal": False}
    forms = [found, found.softmax(1)]  # of a file with probabilities the logits are read
    difference = min(float((form - expected).abs().max()) for form in forms)
    share = difference / max(float(expected.abs().max()), 1e-6)
    return {"difference": share, "outputs_equal": share <= TOLERANCE}


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _runtime(path: Path) -> Callable[[Tensor], Tensor]:
    """The file as onnxruntime computes it, image by image."""
    runtime: Any = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x_BCHW: torch.from_numpy(session.run(None, {name: x_BCHW.numpy()})[0])


def _state_dict(network: Network, folder: Path) -> Path:
    torch.save(network.inner.state_dict(), folder / "t.pth")
    return folder / "t.pth"


def _folder(network: Network, folder: Path) -> Path | None:
    """The folder that the library writes, as a zip; None for torchvision, which writes none."""
    model, inner = folder / "model", network.inner
    library = type(inner).__module__.partition(".")[0]
    if library == "torchvision":
        return None
    if library == "timm":
        importlib.import_module("timm.models").save_for_hf(inner, model)
    else:
        _, height, width = network.shape
        saved: Any = inner
        saved.save_pretrained(model)
        processor = importlib.import_module("transformers").ViTImageProcessor
        processor(size={"height": height, "width": width}).save_pretrained(model)
    return Path(shutil.make_archive(str(folder / "model"), "zip", model))


def _onnx(name: str, **options: Any) -> Callable[[Network, Path], Path]:
    """An exporter; where it puts the weights into a second file, both go into a zip."""

    def write(network: Network, folder: Path) -> Path:
        target = folder / name
        target.mkdir()
        images = torch.zeros(1, *network.shape)
        torch.onnx.export(network.module, (images,), str(target / "t.onnx"), verbose=False, **options)
        if len(list(target.iterdir())) > 1:
            return Path(shutil.make_archive(str(target), "zip", target))
        return target / "t.onnx"

    return write


def _packed(network: Network, folder: Path) -> Path:
    """As `dfad pack` writes it, of which the recipe's second sentence speaks."""
    write_onnx(copy.deepcopy(network.module), torch.zeros(2, *network.shape), folder / "packed.onnx")
    return folder / "packed.onnx"


WRITERS: Mapping[str, Writer] = {
    "state dict": _state_dict,
    "folder": _folder,
    "ONNX": _onnx("default"),
    RECIPE: _onnx("recipe", external_data=False, optimize=False),
    "ONNX traced": _onnx("traced", dynamo=False),
}


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"[:400]


if __name__ == "__main__":
    main()
