"""The committed result lines as tables and plots.

python -m benchmarks.table            # print the tables
python -m benchmarks.table --write    # put them into benchmarks/README.md, and draw the plots
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks import gpu_tables
from benchmarks.plots import AXES, draw
from benchmarks.record import RESULTS, revision_text
from benchmarks.service_tables import chaos_rows, file_rows, polling_rows, public_rows, sse_rows
from dfad_core.evaluation import proof

Line = Mapping[str, Any]

README = RESULTS.parent / "README.md"
BEGIN, END = "<!-- results -->", "<!-- /results -->"
WORTH_A_ROW = 0.5
LEAST_METHODS = 3
"""Fewer methods in one setting make no plot."""


def read(path: Path) -> list[Line]:
    """All lines of a results file; none if there is no such file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def setting(line: Line) -> tuple[str, str, float, str]:
    """What runs must share to stand in one table: data, pair, seconds given, machine."""
    given = line.get("budget_seconds") or round(line["seconds"], -1)
    return line["dataset"], line["pair"], float(given), _where(line)


def by_setting(lines: Sequence[Line]) -> dict[tuple[str, str, float, str], list[Line]]:
    """The lines of each setting."""
    found: dict[tuple[str, str, float, str], list[Line]] = {}
    for line in lines:
        found.setdefault(setting(line), []).append(line)
    return found


def method_table(lines: Sequence[Line]) -> str:
    """Mean and spread over seeds of each method of one setting, best first."""
    head = (
        "method",
        "seeds",
        "student %",
        "spread",
        "gap to teacher",
        "rounds",
        "teacher queries",
        "revision",
    )
    rows = []
    methods = {line["method"]: [one for one in lines if one["method"] == line["method"]] for line in lines}
    for method, runs in methods.items():
        scores = [100 * run["student_accuracy"] for run in runs]
        gap = mean(100 * (run["teacher_accuracy"] - run["student_accuracy"]) for run in runs)
        queries = [run["curve"][-1].get("queries") for run in runs]
        asked = "-" if None in queries else f"{mean(queries):,.0f}"
        row = (
            method,
            str(len({run["seed"] for run in runs})),
            f"{mean(scores):.2f}",
            f"{max(scores) - min(scores):.2f}",
            f"{gap:.2f}",
            f"{mean(run['steps'] for run in runs):,.0f}",
            asked,
            ", ".join(sorted({revision_text(run) for run in runs})),
        )
        rows.append((mean(scores), row))
    return _markdown(head, [row for _, row in sorted(rows, reverse=True)])


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
            _where(line),
            revision_text(line),
        )
        for line in lines
    ]
    return _markdown(head, rows)


def busy_machine_table(lines: Sequence[Line]) -> str:
    """Seconds of the same training by number of threads, alone and beside another program."""
    head = (
        "machine",
        "steps",
        "one thread s",
        "all threads s",
        "left open s",
        "left open took",
        "on",
        "revision",
    )
    rows = []
    for line in lines:
        for where, title in (("alone", "idle"), ("busy", "busy")):
            runs = {name: line["runs"][f"{where}_{name}"] for name in ("one", "all", "auto")}
            seconds = (f"{run['seconds']:.1f}" for run in runs.values())
            took = str(runs["auto"]["threads"])
            rows.append(
                (title, str(line["steps"]), *seconds, took, line["machine"]["cpu"], revision_text(line))
            )
    return _markdown(head, rows)


def signal_table() -> str:
    """What figures without data say about accuracy, the strongest first; of the rest, how many there are."""
    found = proof.correlations()
    shown = proof.proven()
    datasets = sorted({data for by_data in found.values() for data in by_data})

    def weakest(signal: str) -> float:
        return min(proof.expected_sign(signal) * rho for rho in found[signal].values())

    worth = sorted((s for s in found if weakest(s) >= WORTH_A_ROW), key=weakest, reverse=True)
    rows = []
    for signal in worth:
        cells = [f"{found[signal][data]:.2f}" if data in found[signal] else "-" for data in datasets]
        rows.append((signal, *cells, "yes" if signal in shown else "no"))
    rest = (
        f"{len(found) - len(worth)} more figures follow accuracy less closely than {WORTH_A_ROW} somewhere."
    )
    return _markdown(("figure", *datasets, "in reports"), rows) + "\n\n" + rest


def _where(line: Line) -> str:
    machine = line["machine"]
    threads = machine["threads"]
    on = machine.get("gpu") or f"{threads} thread{'s' if threads != 1 else ''} of {machine['cpu']}"
    processes = line.get("processes", 1)
    return str(on) if processes == 1 else f"{processes} processes, each on {on}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def accuracy_lines() -> list[Line]:
    """Every run that was scored on real data, of all benchmarks."""
    gpu = gpu_tables.students(read(RESULTS / "gpu_pass.jsonl"))
    return [*read(RESULTS / "mnist.jsonl"), *read(RESULTS / "paper_table.jsonl"), *gpu]


def plot_names(lines: Sequence[Line]) -> dict[str, tuple[str, list[Line], str]]:
    """file name -> (what to plot against, the lines, the title), one pair of plots a setting worth it."""
    found = {}
    for (dataset, pair, seconds, _), runs in by_setting(lines).items():
        if len({run["method"] for run in runs}) < LEAST_METHODS:
            continue
        threads = runs[0]["machine"]["threads"]
        stem = f"{dataset}-{pair.replace(':', '-')}-{seconds:.0f}s-{threads}"
        for against in AXES:
            title = f"{dataset}, {pair}, {seconds:.0f} s"
            found[f"{stem}-{against}.svg"] = (against, runs, title)
    return found


def report() -> str:
    """All tables, as Markdown."""
    lines = accuracy_lines()
    parts = []
    for (dataset, pair, seconds, where), runs in sorted(by_setting(lines).items()):
        parts.append(f"### {dataset}, {pair}, {seconds:.0f} s on {where}\n\n{method_table(runs)}")
        here = {name for name, (_, of, _) in plot_names(lines).items() if of == runs}
        parts += [f"![{name}](results/plots/{name})" for name in sorted(here)]
    jobs = json.loads(proof.FILE.read_text(encoding="utf-8"))["jobs"]
    counts = ", ".join(f"{data} ({count} jobs)" for data, count in sorted(jobs.items()))
    title = f"### Rank correlation of figures without data with true accuracy, on {counts}"
    parts.append(f"{title}\n\n{signal_table()}")
    parts.append("### Time of a training step\n\n" + step_time_table(read(RESULTS / "step_time.jsonl")))
    busy = read(RESULTS / "busy_machine.jsonl")
    if busy:
        parts.append("### Training beside another busy program\n\n" + busy_machine_table(busy))
    for title, rows in gpu_tables.sections(read(RESULTS / "gpu_pass.jsonl")):
        parts.append(f"### {title}\n\n" + _markdown(*rows))
    chaos, api = read(RESULTS / "chaos.jsonl"), read(RESULTS / "api_load.jsonl")
    if chaos:
        parts.append("### Jobs while processes are killed\n\n" + _markdown(*chaos_rows(chaos)))
    if api:
        parts.append("### Polling, listing, watching\n\n" + _markdown(*polling_rows(api)))
        parts.append("### Large files\n\n" + _markdown(*file_rows(api)))
    watched = read(RESULTS / "sse_watchers.jsonl")
    if watched:
        title = "### Watchers of one job whose connections are cut"
        parts.append(f"{title}\n\n" + _markdown(*sse_rows(watched)))
    public = read(RESULTS / "public_teachers.jsonl")
    if public:
        title = "### Teachers of public tools, through the HTTP API, on scikit-learn's digits"
        parts.append(f"{title}\n\n" + _markdown(*public_rows(public)))
    return "\n\n".join(parts)


def filled(readme: str, tables: str) -> str:
    """`readme` with `tables` between the markers."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}"


def main(arguments: list[str] | None = None) -> None:
    """Print every table that has a result, or write them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table")
    parser.add_argument("--write", action="store_true", help="into the README, with the plots")
    if not parser.parse_args(arguments).write:
        print(report())
        return
    for name, (against, lines, title) in plot_names(accuracy_lines()).items():
        draw(lines, RESULTS / "plots" / name, against, title)
    README.write_text(filled(README.read_text(encoding="utf-8"), report()), encoding="utf-8")


if __name__ == "__main__":
    main()
