"""Options that `submit` and `distill` have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dfad_client.terminal.completion import complete_architecture, complete_format, complete_method

Architecture = Annotated[
    str | None,
    typer.Option(help="The teacher's, where its file does not say.", autocompletion=complete_architecture),
]
Input = Annotated[
    str | None,
    typer.Option(
        metavar="CxHxW",
        help="The teacher's images, as 3x224x224, where its file does not say. Or JSON.",
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(metavar="M,…", help="With --input: what its preprocessing subtracts from each channel."),
]
Std = Annotated[
    str | None, typer.Option(metavar="S,…", help="With --input: what its preprocessing then divides by.")
]
TEACHER_OUTPUT = "The output with the logits, where an ONNX file has several."
Weights = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Which of the file's sets of weights, where there are several: ema"),
]
Student = Annotated[
    str | None, typer.Option(help="Architecture of the student.", autocompletion=complete_architecture)
]
StudentArg = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=INTEGER", help="An argument of the student, e.g. width=8."),
]
Method = Annotated[
    str | None, typer.Option(help="best (the default), dfad_ar_vi …", autocompletion=complete_method)
]
Steps = Annotated[int | None, typer.Option(help="Rounds of training.")]
Seed = Annotated[int | None, typer.Option()]
MaxParameters = Annotated[
    int | None, typer.Option(help="Derive the largest student of the teacher's family within it.")
]
MaxMacs = Annotated[int | None, typer.Option(help="Likewise, in multiply-accumulates.")]
MaxBytes = Annotated[int | None, typer.Option(help="Likewise, in bytes of weights.")]
Export = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FORMAT",
        help="A format beside safetensors, e.g. onnx; repeatable.",
        autocompletion=complete_format,
    ),
]
EvaluateOn = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Labelled images (npz, zip of class folders, parquet): accuracy."),
]
