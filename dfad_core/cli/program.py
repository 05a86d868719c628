"""The program's arguments, and how each of its ends is told."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from dfad_core.cli.lines import Interrupt, Lines
from dfad_core.contract.architectures import ARCHITECTURES
from dfad_core.contract.catalog import METHODS
from dfad_core.contract.formats import EXPORTS
from dfad_core.errors import ConfigError, DfadError, EvaluationRejected, ShapeError

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def parser() -> argparse.ArgumentParser:
    """Of all commands."""
    top = argparse.ArgumentParser(prog="python -m dfad_core", description="The engine, without a server.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _distill(commands.add_parser("distill", help="train a student"))
    export = commands.add_parser("export", help="write a student in another format")
    export.add_argument("student", type=Path)
    export.add_argument("--to", required=True, metavar="FORMAT", help=", ".join(EXPORTS))
    export.add_argument("--output", type=Path, help="default: the student's name with the format's suffix")
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
    command.add_argument("--student")
    command.add_argument("--student-args", type=json.loads, default={}, metavar="JSON")
    command.add_argument("--target", type=json.loads, metavar="JSON", help="what the student may cost")
    command.add_argument("--init-from", type=Path)
    command.add_argument("--method", default="best")
    command.add_argument("--steps", type=int)
    command.add_argument("--seconds", type=float)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--device", default="auto")
    command.add_argument("--export", action="append", default=[], dest="exports")
    command.add_argument("--evaluate-on", type=Path)
    command.add_argument("--output", type=Path, default=Path("student.safetensors"))


def main(arguments: Sequence[str]) -> int:
    """Run one command; its exit code: 1 where the work failed, 2 where it could not be begun."""
    given = parser().parse_args(arguments)
    lines = Lines(sys.stdout)
    if given.command == "names":
        names = {"architectures": list(ARCHITECTURES), "methods": list(METHODS), "formats": list(EXPORTS)}
        lines.tell("result", names)
        return OK
    interrupt = Interrupt()
    try:
        return _run(given, lines, interrupt)
    except KeyboardInterrupt:
        lines.tell("error", {"code": "interrupted", "message": "Interrupted.", "param": None})
        return INTERRUPTED
    except DfadError as error:
        lines.tell("error", {"code": error.code, "message": error.message, "param": error.param})
        return USAGE if isinstance(error, ConfigError | ShapeError | EvaluationRejected) else FAILED
    except OSError as error:
        text = f"{error.filename or 'file'}: {error.strerror or error}"
        lines.tell("error", {"code": "file", "message": text, "param": None})
        return USAGE


def _run(given: argparse.Namespace, lines: Lines, interrupt: Interrupt) -> int:
    if given.command == "distill":
        from dfad_core.cli.distill import run

        return run(given, lines, interrupt)
    if given.command == "export":
        from dfad_core.cli.export import run as export

        return export(given, lines)
    from dfad_core.cli.bench import run as bench

    return bench(given, lines, interrupt)
