"""Which class a folder of pictures is."""

from __future__ import annotations

import pytest

from dfad_core.contract.errors import EvaluationRejected
from dfad_core.formats.class_folders import folder_classes

TWELVE = [str(number) for number in range(12)]


@pytest.mark.parametrize(
    ("folders", "classes"),
    [
        (TWELVE, list(range(12))),
        ([f"{number:02}" for number in range(12)], list(range(12))),
        ([str(number) for number in range(1, 13)], list(range(12))),
        (["00_cat", "01_dog", "02-bird", "3 fish"], [0, 1, 2, 3]),
        (["10_cat", "9_dog", *[f"{number}_x" for number in range(9)], "11"], [10, 9, *range(9), 11]),
        (["3", "7"], [3, 7]),
        ([*"lkjihgfedcba"], list(range(11, -1, -1))),
    ],
)
def test_numbered_folders_have_the_order_of_their_numbers(folders: list[str], classes: list[int]) -> None:
    found, _ = folder_classes(folders, 12)
    assert [found[folder] for folder in folders] == classes


def test_the_notes_show_folders_with_their_classes() -> None:
    _, notes = folder_classes(["1_cat", "2_dog"], 2, ["tabby", "poodle"])
    assert notes == ["Folders are classes by number: 1_cat → 0 (tabby), 2_dog → 1 (poodle)."]
    _, notes = folder_classes([f"{number:04}" for number in range(1000)], 1000)
    assert notes[0].endswith("0019 → 19 and 980 more.")
    assert len(notes[0]) < 500


def test_another_order_of_imagefolder_is_said() -> None:
    _, notes = folder_classes(TWELVE, 12)
    assert "(0, 1, 10, 11, …)" in notes[1]
    assert len(folder_classes(TWELVE[:10], 10)[1]) == 1, "up to ten folders have one order"


def test_a_missing_folder_zero_is_said() -> None:
    _, notes = folder_classes(["1", "2"], 3)
    assert "no folder of class 0" in notes[1]


@pytest.mark.parametrize(
    "folders", [["Dog", "polar bear"], ["01_dog", "00_Polar-Bear"], ["7 dog", "9 polar_bear"]]
)
def test_folders_with_the_teachers_names_are_those_classes(folders: list[str]) -> None:
    found, _ = folder_classes(folders, 3, ["cat", "polar_bear", "dog"])
    assert found == {folder: 2 if "dog" in folder.lower() else 1 for folder in folders}


def test_names_that_are_numbers_are_names() -> None:
    assert folder_classes(["0", "1", "9"], 3, ["1", "9", "0"])[0] == {"0": 2, "1": 0, "9": 1}


@pytest.mark.parametrize(
    ("folders", "names", "message"),
    [
        (["cat", "wolf", "fox"], ["cat", "dog", "cow"], "no class for these folders: wolf, fox"),
        (["0", "12"], [], "numbers up to 12, and classes are 0 to 2"),
        (["a", "b"], [], "2 class folders for 3 classes"),
        (["a", "1"], [], "2 class folders for 3 classes"),
    ],
)
def test_what_does_not_go_together_is_refused(folders: list[str], names: list[str], message: str) -> None:
    with pytest.raises(EvaluationRejected, match=message):
        folder_classes(folders, 3, names)


def test_names_that_two_classes_share_name_none() -> None:
    assert folder_classes(["a", "crane"], 2, ["crane", "crane"])[0] == {"a": 0, "crane": 1}
