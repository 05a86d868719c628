"""A method's recipe for a given teacher: its image source, and the terms that are switched off."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache
from typing import Any

from dfad_core.contract.architectures import get_architecture
from dfad_core.contract.config import DistillConfig, InputConfig, MethodConfig
from dfad_core.methods import resolve_recipe
from dfad_core.networks import build_classifier
from dfad_core.networks.batch_norm import bn_layers

Line = Mapping[str, Any]

TITLES = {
    "bn_weight": "BN statistics",
    "contrast_weight": "contrast",
    "teacher_batch_statistics": "BN on batch statistics",
}
"""Field of a recipe -> its name in tables; other fields go by their own names."""
UPDATES_A_ROUND = {
    "best": 5, "level_sets": 5, "zskt": 10, "fast": 50, "spaceshipnet": 50, "nayer": 100, "cmi": 200,
    "deepinversion": 200,
}  # fmt: skip
"""Student updates a round in the catalogue of revision 3648c7dadf, whose lines do not record them."""
OTHER_UPDATES_A_ROUND = 20
SOURCES_WITHOUT_BN = {"best": {"image_source": "level_sets"}}
"""For a teacher without batch norm: sources of methods that have another one since lines record them."""
UNRECORDED_REVISION = "3648c7dadf"


def recipe_facts(config: DistillConfig, *, teacher_has_bn: bool) -> dict[str, Any]:
    """The fields of a result line: `image_source` and `missing_terms` of the job with such a teacher.

    A term is missing where the recipe for a teacher with batch norm has it and this one has not. Where the
    images come from another source altogether, the recipe is another one, and nothing of it is missing.
    """
    full, recipe = (resolve_recipe(config, teacher_has_bn=bn) for bn in (True, teacher_has_bn))
    missing: list[str] = []
    if full.source == recipe.source:
        names = [f.name for f in dataclasses.fields(recipe)]
        missing = [n for n in names if _on(getattr(full, n)) and not _on(getattr(recipe, n))]
    return {"image_source": recipe.source, "missing_terms": [TITLES.get(n, n) for n in missing]}


def _on(value: object) -> bool:
    return isinstance(value, bool | int | float) and bool(value)


def facts_of_line(line: Line) -> dict[str, Any]:
    """Those that `line` records, else those of the present recipe with the line's teacher."""
    if "missing_terms" in line:
        return {name: line[name] for name in ("image_source", "missing_terms")}
    shape, has_bn = _usual_teacher(line["pair"].partition(":")[0])
    config = DistillConfig(InputConfig(shape), method=MethodConfig(line["method"]))
    facts = recipe_facts(config, teacher_has_bn=has_bn)
    return facts if has_bn else facts | SOURCES_WITHOUT_BN.get(line["method"], {})


@cache
def _usual_teacher(architecture: str) -> tuple[tuple[int, int, int], bool]:
    """The usual shape of its images, and whether it has batch norm."""
    shape = get_architecture(architecture).input_shape
    return shape, bool(bn_layers(build_classifier(architecture, num_classes=10, input_shape=shape)))


def updates_a_round(line: Line) -> int | None:
    """Student updates in one round of the run; None where the line does not record them."""
    recorded = line.get("updates_a_round")
    if recorded is None and str(line["git_revision"]).startswith(UNRECORDED_REVISION):
        return UPDATES_A_ROUND.get(line["method"], OTHER_UPDATES_A_ROUND)
    return recorded
