"""Students in eight-bit integers: ONNX Runtime's static quantisation, calibrated without data."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dfad_core.contract.evaluation_plan import batch_size
from dfad_core.errors import ExportError, Stopped
from dfad_core.formats.onnx import INPUT
from dfad_core.pace import Between, nothing, signs_of_life

CALIBRATION_BATCH = 16


class _Images:
    """The quantiser's view of synthetic images: one batch after the other, then None."""

    def __init__(self, x_BCHW: Tensor, between: Between) -> None:
        channels, height, width = x_BCHW.shape[1:]
        size = batch_size((channels, height, width), CALIBRATION_BATCH)
        self._batches: Iterator[Tensor] = iter(torch.split(x_BCHW, size))
        self._between = between

    def get_next(self) -> dict[str, Any] | None:
        self._between()
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch.numpy()}


def int8_bytes(onnx_content: bytes, calibration_BCHW: Tensor, between: Between = nothing) -> bytes:
    """The ONNX student with weights (by channel) and activations in eight bits, as QDQ operators.

    `calibration_BCHW` are synthetic inputs that show which range each activation takes. `between` is called
    after each batch of them, and while a pass of the quantiser runs. Raises ExportError.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    reader = type("Images", (_Images, CalibrationDataReader), {})(calibration_BCHW, between)
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # the quantiser talks on the root logger
    try:
        with tempfile.TemporaryDirectory() as name, signs_of_life(between):
            plain, ready, done = (Path(name) / f"{what}.onnx" for what in ("plain", "ready", "done"))
            plain.write_bytes(onnx_content)
            quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
            quantize_static(
                str(ready),
                str(done),
                reader,
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
            )
            return done.read_bytes()
    except Stopped:
        raise
    # As with the exporters: whatever its passes raise.
    except Exception as error:
        raise ExportError("The student could not be quantised.", param="int8") from error
    finally:
        root.setLevel(level)
