"""Students of teachers outside of the catalogue, as public tools write them, through the HTTP API.

    python -m benchmarks.public_teachers
    python -m benchmarks.public_teachers --only vit --epochs 2 --steps 20 --no-record
    python -m benchmarks.public_teachers --only vit --method collages --seconds 45

Small networks of `transformers` are trained on two thirds of scikit-learn's digits (doubled to 16x16),
written by `save_pretrained` or by one of the two exporters of `torch.onnx`, and sent to a service that gets
no digits. Accuracy of teacher and student on the other third is measured here, with the student's ONNX file.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import httpx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.machine_load import MachineLoad
from benchmarks.record import RESULTS, append
from dfad_core.contract.methods import METHODS
from dfad_core.evaluation.accuracy import accuracy
from dfad_core.formats.onnx import read_student
from examples.digits.data import MEAN, STD, digits
from testing.stack import Part, Stack, wait_until_ready

FILE = RESULTS / "public_teachers.jsonl"
SHAPE = (1, 16, 16)
SCALE = 16.0
MAX_STEPS = 10_000_000
BATCH, PEAK_RATE = 64, 3e-3
TOKENS = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96}
TEACHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet": ("folder", {"embedding_size": 16, "hidden_sizes": [16, 32, 64], "depths": [1, 1, 1],
                          "layer_type": "basic"}),
    "regnet": ("folder", {"embedding_size": 16, "hidden_sizes": [16, 32, 64], "depths": [1, 1, 1],
                          "groups_width": 8}),
    "mobilenet_v1": ("traced", {"depth_multiplier": 0.25, "min_depth": 8, "tf_padding": False,
                                "classifier_dropout_prob": 0.1}),
    "vit": ("folder", {**TOKENS, "image_size": 16, "patch_size": 4}),
    "convnext": ("exported", {"hidden_sizes": [24, 48], "depths": [2, 2], "num_stages": 2, "patch_size": 2}),
    "swin": ("traced", {"image_size": 16, "patch_size": 2, "embed_dim": 16, "depths": [2, 2],
                        "num_heads": [2, 4], "window_size": 4}),
    "dinov2": ("exported", {**TOKENS, "image_size": 16, "patch_size": 4}),
}  # fmt: skip
"""Name in transformers -> how it is written, its config."""
STUDENT = {"architecture": "resnet8", "args": {"width": 8}}


class Logits(nn.Module):
    """Images to logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """(B, classes)."""
        logits: Tensor = self.model(pixel_values=images).logits
        return logits


def doubled(x_BCHW: Tensor) -> Tensor:
    """8x8 to 16x16."""
    return F.interpolate(x_BCHW, scale_factor=2, mode="bilinear", align_corners=False)


def untrained(kind: str, config: dict[str, Any]) -> Logits:
    """A teacher with its first weights, the same at every call."""
    from transformers import AutoConfig, AutoModelForImageClassification

    torch.manual_seed(0)
    about = AutoConfig.for_model(kind, num_labels=10, num_channels=1, **config)
    return Logits(AutoModelForImageClassification.from_config(about))  # type: ignore[no-untyped-call]


def trained(kind: str, config: dict[str, Any], epochs: int, x: Tensor, y: Tensor) -> Logits:
    """A teacher."""
    network = untrained(kind, config)
    steps = epochs * (len(y) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps)
    network.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(y))[: len(y) // BATCH * BATCH].reshape(-1, BATCH):
            images = torch.roll(x[rows], tuple(torch.randint(-2, 3, (2,)).tolist()), (2, 3))
            loss = F.cross_entropy(network(images), y[rows], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return network.eval()


def written(network: Logits, how: str, folder: Path) -> bytes:
    """The teacher's file."""
    if how == "folder":
        network.model.save_pretrained(folder)  # type: ignore[operator]
        about = {
            "size": {"height": 16, "width": 16},
            "image_mean": [MEAN / SCALE],
            "image_std": [STD / SCALE],
        }
        (folder / "preprocessor_config.json").write_text(json.dumps(about))
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for file in sorted(folder.iterdir()):
                archive.write(file, file.name)
        return buffer.getvalue()
    options: dict[str, Any] = {"input_names": ["images"], "verbose": False}
    if how == "exported":
        batch = torch.export.Dim("batch")
        options |= {"dynamo": True, "external_data": False, "dynamic_shapes": ({0: batch},)}
    else:  # with batch norm as it is, not folded into the convolutions
        keep = torch.onnx.TrainingMode.PRESERVE
        options |= {"dynamo": False, "dynamic_axes": {"images": {0: "batch"}}}
        options |= {"do_constant_folding": False, "training": keep}
    path = folder / "teacher.onnx"
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(network, (torch.zeros(2, *SHAPE),), path, **options)
    finally:
        logging.disable(logging.NOTSET)
    return path.read_bytes()


def distilled(url: str, teacher: bytes, options: argparse.Namespace) -> dict[str, Any]:
    """The finished job, with the ONNX student's bytes as `onnx`."""
    spec: dict[str, Any] = {
        "student": STUDENT,
        "method": {"name": options.method},
        "budget": {"steps": options.steps, "train_seconds": options.seconds},
        "training": {"batch_size": 64, "generator_width": 16},
        "exports": ["onnx"],
        "teacher": {"input": {"shape": SHAPE, "mean": [MEAN / SCALE], "std": [STD / SCALE]}},
    }
    with httpx.Client(base_url=url, timeout=120) as client:
        files: dict[str, Part] = {
            "teacher": ("teacher", teacher),
            "spec": (None, json.dumps(spec)),
        }
        answer = client.post("/jobs", files=files)
        answer.raise_for_status()
        job: dict[str, Any] = answer.json()
        while not job["terminal"]:
            job = client.get(f"/jobs/{job['id']}", headers={"Prefer": "wait=25"}).json()
        if job["status"] != "succeeded":
            raise RuntimeError(f"{job['status']}: {job['error']}")
        inspection = client.get(f"/teachers/{job['teacher']['id']}").json()["inspection"]
        return {
            **job,
            "inspection": inspection,
            "onnx": client.get(f"/jobs/{job['id']}/student", params={"format": "onnx"}).content,
        }


def main(arguments: list[str] | None = None) -> int:
    """One line a teacher; 1 if a job failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.public_teachers", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--only", choices=TEACHERS, action="append")
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--method", default="best", choices=list(METHODS), metavar="NAME")
    parser.add_argument("--steps", type=int, help="rounds; 500 if no seconds are named")
    parser.add_argument("--seconds", type=float, help="of training, in the place of rounds")
    parser.add_argument("--no-record", action="store_true", help="print without a result line")
    options = parser.parse_args(arguments)
    if options.steps is None:
        options.steps = 500 if options.seconds is None else MAX_STEPS
    torch.set_num_threads(1)
    (x, y), (held_x, held_y) = digits()
    x, held_x = doubled(x), doubled(held_x)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="dfad-public-") as name:
        stack = Stack(Path(name), full=False, workers=1, runner="engine")
        try:
            wait_until_ready(stack.url)
            for kind in options.only or TEACHERS:
                how, config = TEACHERS[kind]
                network = trained(kind, config, options.epochs, x, y)
                load = MachineLoad(children=True)
                folder = Path(name) / kind
                folder.mkdir()
                try:
                    job = distilled(stack.url, written(network, how, folder), options)
                except RuntimeError as error:
                    failed += 1
                    print(f"PUBLIC_TEACHER teacher={kind} method={options.method} failed={error}", flush=True)
                    continue
                others = load.figures()
                student = read_student(job["onnx"])
                right = (student(held_x).argmax(1) == held_y).double().mean().item()
                figures = {
                    "teacher": kind,
                    "method": options.method,
                    "written": how,
                    "bn_layers": job["inspection"]["bn_layers"],
                    "teacher_parameters": job["result"]["teacher"]["parameters"],
                    "student_parameters": job["result"]["student"]["parameters"],
                    "teacher_accuracy": round(accuracy(network, held_x, held_y), 4),
                    "student_accuracy": round(right, 4),
                    "training_seconds": job["result"]["training"]["seconds"],
                    **others,
                }
                if not options.no_record:
                    settings = {"epochs": options.epochs, "steps": options.steps, "student": STUDENT}
                    if options.seconds is not None:
                        settings["seconds"] = options.seconds
                    line = {"benchmark": "public_teachers", "settings": settings, **figures}
                    append(FILE, line, torch.device("cpu"))
                print("PUBLIC_TEACHER", *(f"{key}={value}" for key, value in figures.items()), flush=True)
        finally:
            stack.close()
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
