"""Networks that the catalogue does not know, as public tools write them: HTTP edge, attempt, real runner.

Guards: the way of every teacher behind the walls, converted and taught from, in the forms that people have:
ONNX by both of PyTorch's exporters, and a folder by transformers, its weights also by torch.save; with batch
norm and without.
"""

from __future__ import annotations

import io
import json
import logging
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from starlette.testclient import TestClient
from torch import nn

from app.jobs import lifecycle
from app.platform.db import session_scope
from worker.attempt_runner import Attempt

pytest.importorskip("onnxscript")
pytest.importorskip("transformers")

SPEC = {
    "student": {"architecture": "mlp8", "args": {"width": 8}},
    "budget": {"steps": 2},
    "training": {"batch_size": 8, "student_steps": 1, "generator_width": 4, "latent_dim": 8, "threads": 1},
}
COMMON = {"num_labels": 4, "num_channels": 1}
NETWORKS: dict[str, dict[str, Any]] = {
    "vit": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24,
            "image_size": 16, "patch_size": 8},
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1], "layer_type": "basic"},
    "regnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "groups_width": 4},
    "convnext": {"hidden_sizes": [8, 12], "depths": [1, 1], "num_stages": 2, "patch_size": 2},
    "beit": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24,
             "image_size": 16, "patch_size": 8},
    "dinov2": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 16,
               "patch_size": 8},
}  # fmt: skip
BATCH_NORM = ("resnet", "regnet")
SHAPE = (1, 16, 16)


class Bare(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(pixel_values=images).logits
        return logits


def network(kind: str) -> Any:
    from transformers import AutoConfig, AutoModelForImageClassification

    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **NETWORKS[kind], **COMMON)
    return AutoModelForImageClassification.from_config(config).eval()


def packed(kind: str, form: str, folder: Path) -> bytes:
    """A teacher's file."""
    model = network(kind)
    if form.startswith("huggingface"):
        model.save_pretrained(folder)
        if form.endswith("torch.save"):
            (folder / "model.safetensors").unlink()
            torch.save(model.state_dict(), folder / "pytorch_model.bin")
        (folder / "preprocessor_config.json").write_text(
            json.dumps({"size": {"height": 16, "width": 16}, "image_mean": [0.5], "image_std": [0.5]})
        )
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for file in sorted(folder.iterdir()):
                archive.write(file, file.name)
        return buffer.getvalue()
    options: dict[str, Any] = {"input_names": ["images"], "verbose": False}
    if form == "onnx":
        options |= {
            "dynamo": True,
            "external_data": False,
            "dynamic_shapes": ({0: torch.export.Dim("batch")},),
        }
    else:
        options |= {"dynamo": False, "dynamic_axes": {"images": {0: "batch"}}}
        if kind in BATCH_NORM:  # as it is, not folded into the convolution
            options |= {"do_constant_folding": False, "training": torch.onnx.TrainingMode.PRESERVE}
    path = folder.with_suffix(".onnx")
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(Bare(model), (torch.randn(2, *SHAPE),), path, **options)
    finally:
        logging.disable(logging.NOTSET)
    return path.read_bytes()


FORMS = ("huggingface", "huggingface, torch.save", "onnx", "onnx, traced")
CASES = [(kind, form) for kind in ("vit", "resnet") for form in FORMS]
CASES += [(kind, "huggingface") for kind in ("regnet", "convnext", "beit", "dinov2")]


@pytest.mark.parametrize(("kind", "form"), CASES)
def test_a_student_of_what_people_have(database: str, tmp_path: Path, kind: str, form: str) -> None:
    from app.main import create_app

    teacher = ("teacher", packed(kind, form, tmp_path / "model"))
    with TestClient(create_app()) as client:
        answer = client.post("/jobs", files={"teacher": teacher, "spec": (None, json.dumps(SPEC))})
        assert answer.status_code == 201, answer.text
        job_id = answer.json()["id"]
        with session_scope() as session:
            claim = lifecycle.claim(session, job_id, "w1")
        assert claim is not None
        Attempt(claim, lambda: False).run()
        job = client.get(f"/jobs/{job_id}").json()
        assert (job["status"], job["error"]) == ("succeeded", None)
        told = client.get(f"/teachers/{job['teacher']['id']}").json()["inspection"]
        assert told["format"] == form.partition(",")[0]
        parameters = sum(p.numel() for p in network(kind).parameters())
        # Exporters leave out what an answer does not need.
        folded = 0 if form.startswith("huggingface") else 0.1
        assert (1 - folded) * parameters <= told["parameters"] <= parameters
        if form != "onnx":  # that exporter folds batch norm into what stands before it
            assert (told["bn_layers"] > 0) == (kind in BATCH_NORM)
        assert told["input"]["shape"] == list(SHAPE)
