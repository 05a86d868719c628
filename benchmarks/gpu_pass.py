"""All GPU measurements in one call of some minutes: methods, speed, teachers and students.

    python -m benchmarks.gpu_pass --seconds 500
    python -m benchmarks.gpu_pass --device cpu --tiny

In this order, each with its share of the time: every method for 20 rounds, with and without CUDA graphs,
stopped and resumed; the time of a training step; teachers on CIFAR-10; students of them. Every finished
part is at once one JSON line in `gpu_pass.jsonl` of the folder, so the pass can be killed at any moment: the
next call runs the parts without a line. A part that fails becomes a line, too; delete it to run that part
again.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.engine import gpu_pass_parts, gpu_pass_students, teacher_shards
from benchmarks.engine.data import DataMissing
from benchmarks.engine.gpu_pass_journal import Figures, Journal, Part, Stage
from benchmarks.engine.gpu_pass_parts import FULL, TINY, Scale
from benchmarks.record import ROOT
from dfad_core.contract.machine import usable_processors
from dfad_core.contract.methods import METHODS

FILE = "gpu_pass.jsonl"
STUDENT_METHODS = ("best", "fast", "dfad_ar_vi")


def stages(run: gpu_pass_students.Pass, journal: Journal) -> list[Stage]:
    """All parts in their order."""
    scale, device = run.scale, run.device
    # Students use CUDA graphs where the method's own part has passed, so these methods come first.
    methods = [*STUDENT_METHODS, *(name for name in METHODS if name not in STUDENT_METHODS)]
    presets = [
        Part(
            f"presets/{method}" + ("/graphs" if graphs else ""),
            functools.partial(_preset, scale, device, method, graphs),
        )
        for graphs in (False, True)
        for method in methods
    ]
    speeds = [
        Part(f"speed/{size}", functools.partial(gpu_pass_parts.speed, scale, device, size))
        for size in scale.speed_batches
    ]
    teachers = [_teacher(run, name) for name, _ in scale.pairs]
    students = [_student(run, journal, pair, m) for pair in scale.pairs for m in STUDENT_METHODS]
    first, second = (name for name, _ in scale.pairs)
    return [
        Stage("presets", 0.12, f"every method for {scale.rounds} rounds, stopped and resumed", presets),
        Stage("speed", 0.12, "time of a training step beside the plain loop's", speeds),
        Stage("teachers", 0.15, f"{first} on labelled images", teachers[:1]),
        Stage("teachers", 0.19, f"{second} on labelled images", teachers[1:]),
        Stage("students", None, "of these teachers, the time shared evenly", students),
    ]


def _preset(scale: Scale, device: torch.device, method: str, graphs: bool, _until: float) -> Figures:
    return gpu_pass_parts.preset(scale, device, method, graphs=graphs)


def _teacher(run: gpu_pass_students.Pass, name: str) -> Part:
    def stands(line: Mapping[str, Any]) -> bool:
        return bool(line["files"] == teacher_shards.hashes(run.folder, name))

    return Part(f"teachers/{name}", functools.partial(gpu_pass_students.teacher, run, name), stands=stands)


def _student(run: gpu_pass_students.Pass, journal: Journal, pair: tuple[str, str], method: str) -> Part:
    name, needs = f"students/{':'.join(pair)}/{method}", f"teachers/{pair[0]}"

    def run_student(until: float) -> Figures:
        recorded = journal.line(f"presets/{method}/graphs")
        return gpu_pass_students.student(
            run,
            pair,
            method,
            until,
            graphs=bool(recorded) and "failed" not in recorded,
            teacher_accuracy=journal.line(needs)["accuracy_float16"],
            report=lambda figures: journal.add(name, figures),
        )

    return Part(name, run_student, needs=needs)


def run_parts(
    all_stages: Sequence[Stage], journal: Journal, seconds: float, least: Mapping[str, float]
) -> bool:
    """Run the parts without a line while there is time; False if this process has lost the GPU.

    A failed part ends nothing else; an interruption does. Parts that found no time in their stage's share get
    a second turn after all stages.
    """
    end = time.monotonic() + seconds
    turns = [(stage, {"left", "skipped"}) for stage in all_stages]
    turns += [(replace(stage, share=None), {"left"}) for stage in all_stages]
    for stage, states in turns:
        share = end if stage.share is None else min(end, time.monotonic() + stage.share * seconds)
        waiting = [part for part in stage.parts if journal.state(part) in states]
        for place, part in enumerate(waiting):
            left = share - time.monotonic()
            if left <= least.get(stage.name, 0.0):
                break
            blocked = _blocked(part, all_stages, journal)
            if blocked == "left":
                continue
            each = max(least.get(stage.name, 0.0), left / (len(waiting) - place))
            if not _finish(part, journal, time.monotonic() + each, blocked):
                return False
    return True


def _blocked(part: Part, all_stages: Sequence[Stage], journal: Journal) -> str | None:
    """The reason not to run `part`: `left` if the part that it needs has not run, else why it is skipped."""
    needed = [one for stage in all_stages for one in stage.parts if one.name == part.needs]
    for one in needed:
        state = journal.state(one)
        if state in ("failed", "skipped"):
            return f"{one.name} {state}: {journal.line(one.name)[state]}"
        if state == "left":
            return state
    return None


def _finish(part: Part, journal: Journal, until: float, blocked: str | None) -> bool:
    """Run one part and write its line; False if this process has lost the GPU."""
    start = time.monotonic()
    try:
        figures = part.run(until) if blocked is None else {"skipped": blocked}
    except DataMissing as reason:
        figures = {"skipped": str(reason)}
    except Exception as error:  # noqa: BLE001 - any failure leaves the other parts to run
        traceback.print_exc()
        figures = {"failed": type(error).__name__, "message": str(error)[:2000]}
    journal.add(part.name, {**figures, "seconds": round(time.monotonic() - start, 2)})
    print(f"{part.name}: {_summary(figures)} ({time.monotonic() - start:.1f} s)", flush=True)
    return gpu_pass_parts.usable(journal.device)


def _summary(figures: Figures) -> str:
    for word in ("failed", "skipped"):
        if word in figures:
            return f"{word} {figures[word]} {figures.get('message', '')[:200]}".rstrip()
    plain = {k: v for k, v in figures.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    return " ".join(f"{name}={value}" for name, value in plain.items())


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_pass", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seconds", type=float, default=500, help="for all parts together (500)")
    parser.add_argument("--folder", type=Path, default=ROOT / "gpu_pass", help="of lines and teachers")
    parser.add_argument("--data", help="data folder; else DFAD_DATA_DIR, else ../shared/data")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--tiny", action="store_true", help="a trial: small networks, synthetic images")
    parser.add_argument("--revision", help="of the code, where there is no git to ask")
    # End of a pass that continues in a new process, in seconds of time.time().
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """The whole pass; exits with 1 if a part has failed."""
    options = parse(arguments)
    until = options.until or time.time() + options.seconds
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit(
            "benchmarks.gpu_pass: there is no CUDA device; --device cpu --tiny tries everything on a CPU"
        )
    device = torch.device(options.device)
    torch.set_num_threads(min(torch.get_num_threads(), usable_processors()))
    scale = TINY if options.tiny else FULL
    images = gpu_pass_students.Images(scale, device, options.data)
    run = gpu_pass_students.Pass(scale, device, options.folder, images)
    journal = Journal(options.folder / FILE, device, scale.name, options.revision)
    all_stages = stages(run, journal)
    seconds = until - time.time()
    _announce(all_stages, journal, seconds)
    if not run_parts(all_stages, journal, seconds, scale.least):
        _go_on(sys.argv[1:] if arguments is None else arguments, until)
    _close(all_stages, journal)


def _announce(all_stages: Sequence[Stage], journal: Journal, seconds: float) -> None:
    on = torch.cuda.get_device_name(journal.device) if journal.device.type == "cuda" else "the CPU"
    print(f"{seconds:.0f} s on {on}; lines go to {journal.path}")
    assigned = 0.0
    for stage in all_stages:
        share = seconds * (1 - assigned if stage.share is None else stage.share)
        assigned += stage.share or 0.0
        waiting = sum(journal.state(part) in ("left", "skipped") for part in stage.parts)
        print(f"{stage.name:<9} {share:4.0f} s  {waiting} of {len(stage.parts)} parts to run: {stage.what}")
    sys.stdout.flush()


def _go_on(arguments: Sequence[str], until: float) -> None:
    """Replace this process by a new one: some GPU errors last as long as their process."""
    print("a new process goes on", flush=True)
    command = [sys.executable, "-m", "benchmarks.gpu_pass", *arguments, "--until", str(until)]
    os.execv(sys.executable, command)


def _close(all_stages: Sequence[Stage], journal: Journal) -> None:
    states = [journal.state(part) for stage in all_stages for part in stage.parts]
    counts = {word: states.count(word) for word in ("skipped", "left")}
    rest = "".join(f" {word}={count}" for word, count in counts.items() if count)
    failed = states.count("failed")
    print(f"GPU_PASS parts={states.count('result')} failed={failed}{rest}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
