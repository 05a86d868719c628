"""Tables and plots of the committed result lines.

python -m benchmarks.table            # print the tables
python -m benchmarks.table --write    # put them into the two READMEs, and draw the plots
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks import fidelity_calibration as calibration
from benchmarks.engine import gpu_tables, teacher_file_rows
from benchmarks.engine.colour_figures import ablation_figures, colour_figures, disturbed_text
from benchmarks.engine.colour_rows import colour_sections, teacher_rows
from benchmarks.engine.method_table import (
    EQUAL_WORK_NOTE,
    equal_seconds_rows,
    equal_work_rows,
    legend,
    machine_text,
    markdown,
    methods_of,
)
from benchmarks.engine.recipe_facts import facts_of_line
from benchmarks.plots import AXES, draw
from benchmarks.record import RESULTS, ROOT, read, revision_text
from benchmarks.service.service_tables import (
    chaos_rows,
    file_rows,
    first_student_rows,
    large_rows,
    page_rows,
    polling_rows,
    public_rows,
    sse_rows,
    start_rows,
)
from dfad_core.contract.methods import METHODS
from dfad_core.evaluation import judge

Line = Mapping[str, Any]
Row = tuple[str, ...]

README = RESULTS.parent / "README.md"
PROJECT_README = ROOT / "README.md"
SIGNALS = 10
LEAST_METHODS = 3
"""Smallest number of methods in one setting for a plot."""
SERVICE_TABLES: tuple[tuple[str, str, Callable[[Sequence[Line]], tuple[Row, list[Row]]]], ...] = (
    ("chaos.jsonl", "Jobs while processes are killed", chaos_rows),
    ("api_load.jsonl", "Polling, listing, watching", polling_rows),
    ("api_load.jsonl", "Large files", file_rows),
    ("sse_watchers.jsonl", "Watchers of one job whose connections are cut", sse_rows),
    (
        "public_teachers.jsonl",
        "Teachers of public tools, through the HTTP API, on scikit-learn's digits",
        public_rows,
    ),
    ("first_student.jsonl", "From the start of the service to a downloaded student", first_student_rows),
    ("start_time.jsonl", "From the claim of a job to its first training step", start_rows),
    ("large_images.jsonl", "Large images, one thread", large_rows),
    ("page_load.jsonl", "The page of a long job in Chromium", page_rows),
)
"""Results file, title, and what makes rows of its lines."""


def setting(line: Line) -> tuple[str, str, float, str]:
    """What the runs of one table share: data, pair, seconds and machine."""
    budget = line.get("budget_seconds") or round(line["seconds"], -1)
    return line["dataset"], line["pair"], float(budget), machine_text(line)


def by_setting(lines: Sequence[Line]) -> dict[tuple[str, str, float, str], list[Line]]:
    """The lines of each setting."""
    groups: dict[tuple[str, str, float, str], list[Line]] = {}
    for line in lines:
        groups.setdefault(setting(line), []).append(line)
    return groups


def method_tables(lines: Sequence[Line]) -> str:
    """The methods of one setting at equal seconds and, where there are several, at equal work."""
    methods = methods_of(lines)
    parts = [markdown(*equal_seconds_rows(methods)), legend(methods)]
    if len(methods) > 1:
        parts += [EQUAL_WORK_NOTE, markdown(*equal_work_rows(methods))]
    return "\n\n".join(part for part in parts if part)


def step_time_table(lines: Sequence[Line]) -> str:
    """Seconds of a student step (a fifth of a round), one row a run."""
    head = (
        "pair",
        "batch",
        "width",
        "plain s",
        "engine s",
        "with pool s",
        "ratio",
        "with pool",
        "on",
        "revision",
    )
    rows = [
        (
            line["pair"],
            str(line["batch_size"]),
            str(line["generator_width"]),
            *(f"{line[f'{name}_seconds']:.3f}" for name in ("plain", "engine", "engine_with_pool")),
            f"{line['ratio']:.1f}",
            f"{line['ratio_with_pool']:.1f}",
            machine_text(line),
            revision_text(line),
        )
        for line in lines
    ]
    return markdown(head, rows)


def busy_machine_table(lines: Sequence[Line]) -> str:
    """Seconds of the same training by number of threads, alone and beside another program."""
    head = (
        "machine",
        "steps",
        "one thread s",
        "all threads s",
        "left open s",
        "left open: threads",
        "on",
        "revision",
    )
    rows = []
    for line in lines:
        for where, title in (("alone", "idle"), ("busy", "busy")):
            runs = {name: line["runs"][f"{where}_{name}"] for name in ("one", "all", "auto")}
            seconds = (f"{run['seconds']:.1f}" for run in runs.values())
            threads = str(runs["auto"]["threads"])
            rows.append(
                (title, str(line["steps"]), *seconds, threads, line["machine"]["cpu"], revision_text(line))
            )
    return markdown(head, rows)


def judge_section(lines: Sequence[Line]) -> tuple[str, str]:
    """Title and tables of what the judge predicts for teachers that it does not know."""
    if not calibration.enough(lines):
        title = "Accuracy predicted for new teachers, without data"
        return title, "Not measured yet for the present images: until then no job has a prediction."
    rows = calibration.Rows.of(lines)
    verdicts = calibration.judged_apart(rows)
    runs = len({(line["teacher"], line["number"]) for line in rows.lines})
    title = f"Accuracy predicted for new teachers, without data: {len(verdicts)} students of {runs} runs"
    signals = calibration.signal_rows(rows)[:SIGNALS]
    lack = judge.shortfall(calibration.complete(rows, verdicts))
    parts = [
        *([] if lack is None else [f"**Not in force: no job has a prediction yet.** {lack}"]),
        markdown(calibration.HEAD, calibration.table_rows(verdicts)),
        "Accuracies are relative to the teacher's. Signals that follow it most closely (Spearman):",
        markdown(calibration.SIGNAL_HEAD, signals),
    ]
    return title, "\n\n".join(parts)


def accuracy_lines() -> list[Line]:
    """The lines of all benchmarks that were scored on real data."""
    gpu = gpu_tables.students(read(RESULTS / "gpu_pass.jsonl"))
    return [*read(RESULTS / "mnist.jsonl"), *read(RESULTS / "paper_table.jsonl"), *gpu]


def plot_names(lines: Sequence[Line]) -> dict[str, tuple[str, list[Line], str]]:
    """file name -> (what to plot against, the lines, the title), one pair of plots a setting worth it."""
    plots = {}
    for (dataset, pair, seconds, _), runs in by_setting(lines).items():
        if len({run["method"] for run in runs}) < LEAST_METHODS:
            continue
        threads = runs[0]["machine"]["threads"]
        stem = f"{dataset}-{pair.replace(':', '-')}-{seconds:.0f}s-{threads}"
        for against in AXES:
            title = f"{dataset}, {pair}, {seconds:.0f} s"
            plots[f"{stem}-{against}.svg"] = (against, runs, title)
    return plots


def report() -> str:
    """All tables, as Markdown."""
    parts = []
    for (dataset, pair, seconds, where), runs in sorted(by_setting(accuracy_lines()).items()):
        parts.append(f"### {dataset}, {pair}, {seconds:.0f} s on {where}\n\n{method_tables(runs)}")
        parts += [f"![{name}](results/plots/{name})" for name in sorted(plot_names(runs))]
    parts += [f"### {title}\n\n{text}" for title, text in result_sections()]
    return "\n\n".join(parts)


def result_sections() -> Iterator[tuple[str, str]]:
    """Title and table of each results file that has lines, in the order of the page."""
    yield judge_section(calibration.lines())
    if lines := read(RESULTS / "colour_teachers.jsonl"):
        yield "CIFAR-10 teachers without batch norm", markdown(*teacher_rows(lines))
    yield from colour_sections(read(RESULTS / "colour.jsonl"))
    if lines := read(RESULTS / "step_time.jsonl"):
        yield "Time of a training step", step_time_table(lines)
    if lines := read(RESULTS / "busy_machine.jsonl"):
        yield "Training beside another busy program", busy_machine_table(lines)
    for title, rows in gpu_tables.sections(read(RESULTS / "gpu_pass.jsonl")):
        yield title, markdown(*rows)
    yield from teacher_file_rows.sections(read(RESULTS / "teacher_files.jsonl"))
    for file, title, rows_of in SERVICE_TABLES:
        if lines := read(RESULTS / file):
            yield title, markdown(*rows_of(lines))


def readme_figures() -> str:
    """Sentences of the project's README: a measurement of each kind of the default method."""
    digits = read(RESULTS / "first_student.jsonl")[-1]
    share = digits["student_parameters"] / digits["teacher_parameters"]
    mnist = [line for line in read(RESULTS / "mnist.jsonl") if line["dataset"] == "mnist-test"]
    of_best = [line for line in mnist if line["method"] == "best"]
    setting_of_best = max(by_setting(of_best).items(), key=lambda item: len(item[1]))[0]
    (best,) = (row for row in methods_of(by_setting(mnist)[setting_of_best]) if row.method == "best")
    with_bn = SOURCES[METHODS["best"].recipe.source]
    without_bn = SOURCES[facts_of_line(best.lines[0])["image_source"]]
    seconds, where = setting_of_best[2], setting_of_best[3]
    disturbed = disturbed_text(best)
    teacher = 100 * mean(line["teacher_accuracy"] for line in best.lines)
    return "\n".join(
        [
            f"- Digits of 8x8 pixels, a teacher with batch norm, images from {with_bn}:",
            f"  {100 * digits['student_accuracy']:.1f} % right where the teacher has "
            f"{100 * digits['teacher_accuracy']:.1f} %, with {share:.0%} of its parameters,",
            f"  {digits['seconds']:.0f} s after the start of the service.",
            f"- MNIST, LeNet-5 without batch norm, images from {without_bn}:",
            f"  {best.accuracy:.1f} % right where the teacher has {teacher:.1f} %, mean of "
            f"{len(best.lines)} seeds, {seconds:.0f} s on {where}.{disturbed}",
            *colour_figures(read(RESULTS / "colour.jsonl")),
            *ablation_figures(read(RESULTS / "colour.jsonl")),
        ]
    )


SOURCES = {
    "generator": "a trained generator",
    "level_sets": "a fixed procedure (no generator is trained)",
    "collages": "drawings that the teacher's answers choose (no generator is trained)",
}
"""Image source of the default method -> how the README names it."""


def filled(page: str, name: str, text: str) -> str:
    """`page` with `text` between its markers `<!-- name -->` and `<!-- /name -->`."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = page.partition(begin)
    _, closing, after = rest.partition(end)
    if not closing:
        raise ValueError(f"the page has no markers {begin} and {end}")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def pages() -> dict[Path, str]:
    """Every page with printed figures, as it should be."""
    texts = {README: ("results", report()), PROJECT_README: ("figures", readme_figures())}
    return {path: filled(path.read_text(encoding="utf-8"), *text) for path, text in texts.items()}


def main(arguments: list[str] | None = None) -> None:
    """Print every table that has a result, or write them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table")
    parser.add_argument("--write", action="store_true", help="into the two READMEs, and draw the plots")
    if not parser.parse_args(arguments).write:
        print(report())
        return
    for name, (against, lines, title) in plot_names(accuracy_lines()).items():
        draw(lines, RESULTS / "plots" / name, against, title)
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
