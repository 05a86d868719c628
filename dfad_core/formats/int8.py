"""Students in eight-bit integers: ONNX Runtime's static quantisation, calibrated without data."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dfad_core.contract.errors import ExportError, Stopped
from dfad_core.contract.evaluation_plan import TIMED_BATCHES, batch_size, latency_batch
from dfad_core.contract.serialization import to_json
from dfad_core.formats.check import compare
from dfad_core.formats.interface import ExportTask
from dfad_core.formats.onnx import INPUT, read_student
from dfad_core.hooks import Between, signs_of_life
from dfad_core.networks.cost import cost
from dfad_core.networks.pass_time import pass_milliseconds

CALIBRATION_BATCH = 16
LEAST_AGREEMENT = 0.95
"""Below this share of equal classes, a file says so of itself."""
SLOWER = 1.05
"""Times of two runs differ by less."""


__all__ = ["read_student", "write"]


def write(task: ExportTask) -> tuple[bytes, dict[str, Any]]:
    """The student's ONNX file quantised, how it answers and how fast, and what the judge predicts for it.

    Its times and those of the file in float are measured in turn on this machine. Raises ExportError.
    """
    content = _quantise(task.sources["onnx"], task.calibration_BCHW, task.between)
    with signs_of_life(task.between):
        run = read_student(content)
    # No tolerance: quantisation changes logits, and the user has to know how much.
    figures = compare(task.student.eval(), run, task.checked_BCHW, task.between).figures()
    if task.judged is not None:
        figures["prediction"] = to_json(task.judged(run))
    figures["calibration_images"] = len(task.calibration_BCHW)
    with signs_of_life(task.between):
        in_float = read_student(task.sources["onnx"])
    macs, shape = cost(task.student, task.metadata.input.shape).macs, task.metadata.input.shape
    times, float_times = {}, {}
    for size in TIMED_BATCHES:
        x_BCHW = torch.zeros(latency_batch(macs, batch_size(shape, size)), *shape)
        times[str(len(x_BCHW))] = pass_milliseconds(run, x_BCHW, task.between)
        float_times[str(len(x_BCHW))] = pass_milliseconds(in_float, x_BCHW, task.between)
    figures |= {"latency_milliseconds": times, "float_latency_milliseconds": float_times}
    if found := caution(figures["agreement_with_student"], times, float_times):
        figures["caution"] = found
    return content, figures


def caution(agreement: float, times: Mapping[str, float], float_times: Mapping[str, float]) -> str | None:
    """What speaks against the file, in sentences; None if nothing does. Milliseconds by batch size."""
    sentences = []
    if agreement < LEAST_AGREEMENT:
        sentences.append(
            f"It gives another class than the student for {1 - agreement:.0%} of the drawn images: "
            "test it on labelled images before use."
        )
    slower = [
        f"{times[batch]:.3g} ms against {float_times[batch]:.3g} for a batch of {batch}"
        for batch in times
        if times[batch] > SLOWER * float_times[batch]
    ]
    if slower:
        sentences.append(f"It is slower here than the ONNX file in float: {', '.join(slower)}.")
    return " ".join(sentences) or None


class _Images:
    """Synthetic images as the quantiser's data reader: batches, then None."""

    def __init__(self, x_BCHW: Tensor, between: Between) -> None:
        channels, height, width = x_BCHW.shape[1:]
        size = batch_size((channels, height, width), CALIBRATION_BATCH)
        self._batches: Iterator[Tensor] = iter(torch.split(x_BCHW, size))
        self._between = between

    def get_next(self) -> dict[str, Any] | None:
        self._between()
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch.numpy()}


def _quantise(onnx_content: bytes, calibration_BCHW: Tensor, between: Between) -> bytes:
    """The ONNX student with weights (by channel) and activations in eight bits, as QDQ operators.

    `calibration_BCHW` are synthetic inputs that set the range of each activation. `between` is called after
    each batch of them, and while a pass of the quantiser runs. Raises ExportError.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    reader = type("Images", (_Images, CalibrationDataReader), {})(calibration_BCHW, between)
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # the quantiser logs to the root logger
    try:
        with tempfile.TemporaryDirectory() as name, signs_of_life(between):
            original, preprocessed, quantised = (
                Path(name) / f"{stage}.onnx" for stage in ("original", "preprocessed", "quantised")
            )
            original.write_bytes(onnx_content)
            quant_pre_process(str(original), str(preprocessed), skip_symbolic_shape=True)
            quantize_static(
                str(preprocessed),
                str(quantised),
                reader,
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
            )
            return quantised.read_bytes()
    except Stopped:
        raise
    # The quantiser's passes raise errors of any type.
    except Exception as error:
        raise ExportError("The student could not be quantised.", param="int8") from error
    finally:
        root.setLevel(level)
