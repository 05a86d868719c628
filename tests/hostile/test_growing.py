"""A file that grows while it is read.

Guards: that a copy of it is refused or read as it was at some moment, and nothing else.
"""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dfad_core.contract.errors import TeacherRejected
from dfad_core.formats import load_teacher
from dfad_core.networks import build_classifier


@pytest.mark.parametrize("form", ["safetensors", "pt"])
def test_a_file_that_grows_while_it_is_read(tmp_path: Path, form: str) -> None:
    network = build_classifier("cnn8", num_classes=10, input_shape=(1, 8, 8), args={"width": 8}).eval()
    path, over = tmp_path / "teacher", threading.Event()
    if form == "pt":
        torch.save(network.state_dict(), path)
    else:
        save_file(network.state_dict(), path)
    whole = path.read_bytes()
    x_BCHW = torch.randn(2, 1, 8, 8)

    def grow() -> None:
        while not over.is_set():
            path.write_bytes(whole)
            with path.open("ab") as file:
                for _ in range(50):
                    file.write(b"more")
                    file.flush()

    growing = threading.Thread(target=grow)
    growing.start()
    try:
        for _ in range(50):
            copy = tmp_path / "copy"
            copy.write_bytes(path.read_bytes())
            try:
                found = load_teacher(copy, architecture="cnn8")
            except TeacherRejected:
                continue
            with torch.no_grad():
                assert torch.equal(found.module(x_BCHW), network(x_BCHW))
    finally:
        over.set()
        growing.join()
