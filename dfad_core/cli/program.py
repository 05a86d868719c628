"""The program's arguments, its commands and its exit codes."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from dfad_core.cli.lines import Interrupt, Lines
from dfad_core.contract.architectures import ARCHITECTURES
from dfad_core.contract.errors import ConfigError, DfadError, EvaluationRejected, ShapeError
from dfad_core.contract.formats import EXPORTS
from dfad_core.contract.methods import METHODS
from dfad_core.contract.own_network import FILE as OWN_FILE

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = argparse.ArgumentParser(prog="python -m dfad_core.cli", description="The engine, without a server.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _distill(commands.add_parser("distill", help="train a student"))
    export = commands.add_parser("export", help="write a student in another format")
    export.add_argument("student", type=Path)
    export.add_argument("--to", required=True, metavar="FORMAT", help=", ".join(EXPORTS))
    export.add_argument("--output", type=Path, help="default: the student's name with the format's suffix")
    pack = commands.add_parser("pack", help="write a network of one's own as an ONNX teacher")
    pack.add_argument("network", metavar="FILE.py:NAME")
    pack.add_argument("--weights", type=Path, metavar="FILE")
    pack.add_argument("--input", type=json.loads, required=True, metavar="JSON")
    pack.add_argument("--output", type=Path, default=Path(OWN_FILE))
    bench = commands.add_parser("bench", help="measure how fast this machine distils")
    bench.add_argument("pair", metavar="TEACHER:STUDENT")
    bench.add_argument("--seconds", type=float, default=5.0)
    bench.add_argument("--method", default="best")
    bench.add_argument("--batch-size", type=int, default=128)
    bench.add_argument("--device", default="auto")
    commands.add_parser("names", help="architectures, methods and formats")
    return top


def _distill(command: argparse.ArgumentParser) -> None:
    command.add_argument("teacher", type=Path)
    command.add_argument("--architecture", help="the teacher's, where its file does not say")
    command.add_argument("--weights", help="which of the file's sets of weights, such as ema")
    command.add_argument("--num-classes", type=int, help="the teacher's, likewise")
    command.add_argument(
        "--input", type=json.loads, metavar="JSON", help="the teacher's: shape, and mean and std where known"
    )
    command.add_argument("--teacher-output", help="the output with the logits, where the file has several")
    command.add_argument("--student", help="architecture of the student")
    command.add_argument("--student-args", type=json.loads, default={}, metavar="JSON")
    command.add_argument("--layers", type=Path, metavar="FILE", help="the student as a list of layers, JSON")
    command.add_argument("--transformers", type=Path, metavar="FILE", help="the student as a config, JSON")
    command.add_argument("--target", type=json.loads, metavar="JSON", help="limits of the student's cost")
    command.add_argument("--init-from", type=Path, metavar="FILE", help="the student's initial weights")
    command.add_argument("--method", default="best")
    command.add_argument("--steps", type=int)
    command.add_argument("--seconds", type=float)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--device", default="auto")
    command.add_argument("--export", action="append", default=[], dest="exports")
    command.add_argument("--evaluate-on", type=Path, metavar="FILE", help="labelled images")
    command.add_argument(
        "--resume", type=Path, metavar="FOLDER", help="write checkpoints there, and go on from the newest"
    )
    command.add_argument("--checkpoint-seconds", type=float, default=60.0, help="between two checkpoints")
    command.add_argument("--output", type=Path, default=Path("student.safetensors"))


def main(argv: Sequence[str]) -> int:
    """Run one command and return its exit code: 1 where the work failed, 2 where it could not begin."""
    arguments = parser().parse_args(argv)
    lines = Lines(sys.stdout)
    if arguments.command == "names":
        names = {"architectures": list(ARCHITECTURES), "methods": list(METHODS), "formats": list(EXPORTS)}
        lines.write("result", names)
        return OK
    interrupt = Interrupt()
    try:
        return _run(arguments, lines, interrupt)
    except KeyboardInterrupt:
        lines.write("error", {"code": "interrupted", "message": "Interrupted.", "param": None})
        return INTERRUPTED
    except DfadError as error:
        lines.write("error", {"code": error.code, "message": error.message, "param": error.param})
        return USAGE if isinstance(error, ConfigError | ShapeError | EvaluationRejected) else FAILED
    except OSError as error:
        text = f"{error.filename or 'file'}: {error.strerror or error}"
        lines.write("error", {"code": "file", "message": text, "param": None})
        return USAGE


def _run(arguments: argparse.Namespace, lines: Lines, interrupt: Interrupt) -> int:
    if arguments.command == "distill":
        from dfad_core.cli.distill import run

        return run(arguments, lines, interrupt)
    if arguments.command == "export":
        from dfad_core.cli.export import run as export

        return export(arguments, lines)
    if arguments.command == "pack":
        from dfad_core.cli.pack import run as pack

        return pack(arguments, lines)
    from dfad_core.cli.bench import run as bench

    return bench(arguments, lines, interrupt)
