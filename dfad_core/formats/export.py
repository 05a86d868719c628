"""Export of a trained student to the requested formats, each checked before it is offered."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from dfad_core.contract.errors import ExportError
from dfad_core.contract.formats import DEFAULT, FORMATS
from dfad_core.formats.interface import Export, ExportTask, Judged, writer
from dfad_core.formats.metadata import StudentMetadata
from dfad_core.hooks import Between, nothing

__all__ = ["Export", "export", "required"]


def required(names: Sequence[str]) -> list[str]:
    """The formats of `names` and those that they are made from, each after what it needs."""
    ordered: list[str] = []

    def add(name: str) -> None:
        for needed in FORMATS[name].needs:
            add(needed)
        if name not in ordered:
            ordered.append(name)

    for name in FORMATS:
        if name in names and name != DEFAULT:
            add(name)
    return ordered


def export(
    names: Sequence[str],
    student: nn.Module,
    metadata: StudentMetadata,
    calibration_BCHW: Tensor,
    checked_BCHW: Tensor,
    *,
    judged: Judged | None = None,
    failed: Callable[[str, str], None],
    between: Between = nothing,
    ready: Callable[[Export], object] = lambda _: None,
) -> list[Export]:
    """The student in the formats of `names` besides safetensors, which every student has already.

    Both are inputs that were not trained on: `calibration_BCHW` set the ranges of eight bits, `checked_BCHW`
    are for the check. `judged` predicts the accuracy of formats whose answers differ from the student's.

    A format that cannot be written is reported to `failed` (its name, the reason) and left out. `ready` is
    called with each format as soon as it is checked. `between` is called between two batches of images and
    while an exporter runs, and may raise Stopped.
    """
    contents: dict[str, bytes] = {}
    exports: list[Export] = []
    for name in required(names):
        between()
        row = FORMATS[name]
        try:
            if missing := [source for source in row.needs if source not in contents]:
                raise ExportError(f"It is made from {missing[0]}, which failed.", param=name)
            sources = {source: contents[source] for source in row.needs}
            task = ExportTask(student, metadata, calibration_BCHW, checked_BCHW, sources, between, judged)
            contents[name], figures = writer(name).write(task)
        except ExportError as error:
            failed(name, error.message)
            continue
        except ModuleNotFoundError as error:
            extra = f" (pip install 'dfad[{row.extra}]')" if row.extra else ""
            failed(name, f"{error.name} is missing{extra}.")
            continue
        if name in names:
            exports.append(Export(name, contents[name], figures))
            ready(exports[-1])
    return exports
