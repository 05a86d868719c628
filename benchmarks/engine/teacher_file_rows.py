"""Tables of `benchmarks.teacher_files`: what is read of public libraries' files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.engine.method_table import markdown
from benchmarks.record import revision_text
from benchmarks.teacher_files import FORMS

Line = Mapping[str, Any]
Row = tuple[str, ...]

LEGEND = (
    "*read*: the logits are those of the library's network on random images. *named*: read where the "
    "architecture is named, since the catalogue does not have it. *packed*: read as `dfad pack` writes it, "
    "the recipe's command, not as its call does. *BN*: all batch-norm layers are there; "
    "*n BN*: some are, the others are folded into convolutions, or all of them (*no BN*). *=*: as many "
    "parameters; else the difference. A dash: the library writes no such file, or PyTorch cannot."
)


def sections(lines: Sequence[Line]) -> Iterator[tuple[str, str]]:
    """Title and text: by library, by network, and the sentences of what is refused."""
    if not lines:
        return
    runs = newest(lines)
    yield "Files of public classifiers that are read as teachers", markdown(*library_rows(runs))
    yield "The same by network", f"{markdown(*network_rows(runs))}\n\n{LEGEND}"
    yield "What is not read of them, with the sentence that says so", markdown(*refusal_rows(runs))


def newest(lines: Sequence[Line]) -> dict[tuple[str, str], dict[str, Line]]:
    """By library and network, the newest line of each form; of a network that could not be made, its one."""
    runs: dict[tuple[str, str], dict[str, Line]] = {}
    for line in lines:
        runs.setdefault((line["library"], line["network"]), {})[line["form"]] = line
    return runs


def is_right(line: Line | None) -> bool:
    """Whether the file is read with the logits of its network."""
    return line is not None and bool(line.get("read")) and bool(line.get("outputs_equal"))


def library_rows(runs: Mapping[tuple[str, str], Mapping[str, Line]]) -> tuple[Row, list[Row]]:
    """One row a library: how many of its networks are read in each form, and in any."""
    rows: list[Row] = []
    for library in dict.fromkeys(library for library, _ in runs):
        forms = [one for (of, _), one in runs.items() if of == library and "none" not in one]
        cells = []
        for form in FORMS:
            made = [one[form] for one in forms if form in one and one[form]["made"]]
            cells.append(f"{sum(map(is_right, made))} of {len(made)}" if made else "-")
        whole = sum(any(is_right(line) for line in one.values()) for one in forms)
        last = next(iter(forms[-1].values()))
        rows.append((library, *cells, f"{whole} of {len(forms)}", revision_text(last)))
    return ("library", *FORMS, "in any form", "revision"), rows


def network_rows(runs: Mapping[tuple[str, str], Mapping[str, Line]]) -> tuple[Row, list[Row]]:
    """One row a network."""
    rows: list[Row] = [
        (f"{library}: {network}", *(_cell(forms.get(form)) for form in FORMS))
        for (library, network), forms in runs.items()
        if "none" not in forms
    ]
    return ("network", *FORMS), rows


def _cell(line: Line | None) -> str:
    if line is None or not line["made"]:
        return "-"
    if not line.get("read"):
        return f"`{line['code']}`"
    if not line.get("outputs_equal"):
        return "other logits"
    words = ["named" if line.get("named") else "packed" if line.get("packed") else "read"]
    if own := line.get("bn_layers"):
        kept = line["bn_layers_read"]
        words.append("BN" if kept == own else f"{kept} BN" if kept else "no BN")
    if "parameters" in line:
        more = line["parameters_read"] - line["parameters"]
        words.append(f"{more:+,}" if more else "=")
    return " ".join(words)


def refusal_rows(runs: Mapping[tuple[str, str], Mapping[str, Line]]) -> tuple[Row, list[Row]]:
    """One row a sentence, with the files that it is said of."""
    said: dict[tuple[str, str], list[str]] = {}
    for (_, network), forms in runs.items():
        for form, line in forms.items():
            if not is_right(line):
                sentence = line.get("sentence") or "Read, but its logits are not those of the network."
                what = "could not be made" if not line["made"] else str(line.get("code", "read"))
                said.setdefault((what, sentence), []).append(
                    network if form == "none" else f"{network}, {form}"
                )
    rows: list[Row] = [
        (what, sentence.replace("|", "\\|").replace("\n", " "), "; ".join(files))
        for (what, sentence), files in said.items()
    ]
    return ("code", "sentence", "files"), rows
