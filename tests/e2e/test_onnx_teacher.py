"""A network that the catalogue does not know, as ONNX: the HTTP edge, an attempt and a real runner."""

from __future__ import annotations

import json
import logging
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

SPEC = {
    "student": {"architecture": "mlp8", "args": {"width": 8}},
    "budget": {"steps": 5},
    "training": {"batch_size": 16, "student_steps": 2, "generator_width": 4, "latent_dim": 8, "threads": 1},
}


class Branches(nn.Module):
    """Two paths that meet, with normalisation or without."""

    def __init__(self, *, norm: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8) if norm else nn.Identity()
        self.left, self.right = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = torch.relu(self.norm(self.stem(images)))
        features = torch.nn.functional.silu(self.left(features)) + self.right(features)
        logits: torch.Tensor = self.head(features.mean((2, 3)))
        return logits


def exported(path: Path, *, norm: bool) -> bytes:
    torch.manual_seed(0)
    options: dict[str, Any] = {"dynamo": False, "input_names": ["x"], "dynamic_axes": {"x": {0: "batch"}}}
    if norm:  # as it is, not folded into the convolution
        options |= {"do_constant_folding": False, "training": torch.onnx.TrainingMode.PRESERVE}
    logging.disable(logging.WARNING)
    try:
        torch.onnx.export(Branches(norm=norm).eval(), (torch.randn(2, 1, 8, 8),), path, **options)
    finally:
        logging.disable(logging.NOTSET)
    return path.read_bytes()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("norm", [False, True])
def test_a_student_of_an_onnx_teacher(database: str, tmp_path: Path, norm: bool) -> None:
    from app.main import create_app

    with TestClient(create_app()) as client:
        files = {
            "teacher": ("net.onnx", exported(tmp_path / "m.onnx", norm=norm)),
            "spec": (None, json.dumps(SPEC)),
        }
        answer = client.post("/jobs", files=files)
        assert answer.status_code == 201, answer.text
        job_id = answer.json()["id"]
        with session_scope() as session:
            claim = lifecycle.claim(session, job_id, "w1")
        assert claim is not None
        Attempt(claim, lambda: False).run()
        job = client.get(f"/jobs/{job_id}").json()
        assert (job["status"], job["error"]) == ("succeeded", None)
        assert job["result"]["teacher"]["architecture"] == "onnx"
        assert job["result"]["teacher"]["parameters"] == sum(
            p.numel() for p in Branches(norm=norm).parameters()
        )
        teacher = client.get(f"/teachers/{job['teacher']['id']}").json()
        assert teacher["inspection"]["format"] == "onnx"
        assert teacher["inspection"]["bn_layers"] == int(norm)
        assert client.get(f"/jobs/{job_id}/student").status_code == 200
