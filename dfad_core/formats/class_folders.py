"""Classes of a zip's folders: by the teacher's names, by number, or by alphabet."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from dfad_core.contract.errors import EvaluationRejected
from dfad_core.formats.pictures import names, shown

MAX_FOLDERS_NAMED = 20
"""Number of folders that the note on their classes names at most."""
_NUMBERED = re.compile(r"(\d{1,9})(?:[ _.-]+(.*))?", re.ASCII | re.DOTALL)
"""A folder's number, alone or before a name: `7`, `07`, `07_horse`."""


def folder_classes(
    folders: Sequence[str], num_classes: int, class_names: Sequence[str] = ()
) -> tuple[dict[str, int], list[str]]:
    """The class of each folder, and notes that show it.

    By name where the teacher names its classes and folders have such names. Otherwise by number where all
    have one: it is the class, or, if they do not start at 0, its place among them. Otherwise by alphabet.
    Raises EvaluationRejected if folders and classes do not go together.
    """
    if (named := _by_name(folders, class_names)) is not None:
        return named, [_note(named, "name", ())]
    numbered = {folder: match for folder in folders if (match := _NUMBERED.fullmatch(folder))}
    if len(numbered) == len(folders):
        numbers = {folder: int(match[1]) for folder, match in numbered.items()}
        by_number = _by_number(numbers, num_classes)
        notes = [_note(by_number, "number", class_names), *_other_order(by_number)]
        if min(by_number.values()) > 0:
            notes.append("There is no folder of class 0. Classes are numbered from 0.")
        return by_number, notes
    if len(folders) != num_classes:
        raise EvaluationRejected(f"There are {len(folders)} class folders for {num_classes} classes.")
    alphabetical = {folder: number for number, folder in enumerate(sorted(folders))}
    return alphabetical, [_note(alphabetical, "alphabet", class_names)]


def _by_name(folders: Sequence[str], class_names: Sequence[str]) -> dict[str, int] | None:
    """Classes by the teacher's names, with or without a number before them; None if no folder has one."""
    classes = {_key(name): number for number, name in enumerate(class_names)}
    if len(classes) != len(class_names):
        return None  # two classes of one name
    by_whole = {folder: classes.get(_key(folder)) for folder in folders}
    rests = {folder: match[2] for folder in folders if (match := _NUMBERED.fullmatch(folder)) and match[2]}
    by_rest = {folder: classes.get(_key(rest)) for folder, rest in rests.items()}
    if len(rests) == len(folders) and all(number is not None for number in by_rest.values()):
        by_whole = by_rest
    known = {folder: number for folder, number in by_whole.items() if number is not None}
    if not known:
        return None
    if unknown := [folder for folder in folders if folder not in known]:
        text = f"The teacher names its classes, and has no class for these folders: {names(unknown)}."
        raise EvaluationRejected(text)
    return known


def _key(name: str) -> str:
    return " ".join(re.split(r"[ _-]+", name.casefold())).strip()


def _by_number(numbers: Mapping[str, int], num_classes: int) -> dict[str, int]:
    in_order = sorted(set(numbers.values()))
    if in_order[-1] < num_classes:
        return dict(numbers)
    if len(in_order) == num_classes:
        return {folder: in_order.index(number) for folder, number in numbers.items()}
    text = f"The class folders have numbers up to {in_order[-1]}, and classes are 0 to {num_classes - 1}. "
    text += "Number them from 0, or send a folder for each class."
    raise EvaluationRejected(text)


def _note(classes: Mapping[str, int], kind: str, class_names: Sequence[str]) -> str:
    def entry(folder: str, number: int) -> str:
        name = f" ({shown(class_names[number])})" if class_names else ""
        return f"{shown(folder)} → {number}{name}"

    in_order = sorted(classes.items(), key=lambda item: (item[1], item[0]))
    text = ", ".join(entry(*item) for item in in_order[:MAX_FOLDERS_NAMED])
    more = len(in_order) - MAX_FOLDERS_NAMED
    return f"Folders are classes by {kind}: {text}{f' and {more:,} more' if more > 0 else ''}."


def _other_order(classes: Mapping[str, int]) -> list[str]:
    """A note where sorting the folders as text gives another order, as torchvision's ImageFolder does."""
    if [classes[folder] for folder in sorted(classes)] == sorted(classes.values()):
        return []
    text = ", ".join(shown(folder) for folder in sorted(classes)[:4])
    return [
        f"Sorted as text the folders have another order ({text}, …). A network that was trained with "
        "torchvision's ImageFolder on such folders has its classes in that order."
    ]
