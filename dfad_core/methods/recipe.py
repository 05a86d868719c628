"""The recipe of one job: its method's recipe, with the job's settings and without what the teacher lacks."""

from __future__ import annotations

import dataclasses
from typing import Any

from dfad_core.contract.config import MethodConfig
from dfad_core.contract.methods import get_method
from dfad_core.contract.recipe import Recipe
from dfad_core.methods.terms import GENERATOR_TERMS


def resolve_recipe(config: MethodConfig, *, teacher_has_bn: bool) -> Recipe:
    """The recipe of the method `config.name`, with the job's own values in place of the method's.

    Weights of terms on BN are 0 for a teacher without BN. Raises ConfigError (`unknown_method`) for a name
    that is not in the catalogue.
    """
    method = get_method(config.name)
    recipe = method.recipe if teacher_has_bn else method.recipe_without_bn or method.recipe
    names = {f.name for f in dataclasses.fields(Recipe)} & {f.name for f in dataclasses.fields(MethodConfig)}
    settings = {name: getattr(config, name) for name in names}
    recipe = dataclasses.replace(recipe, **{k: v for k, v in settings.items() if v is not None})
    if teacher_has_bn:
        return recipe
    on_bn: dict[str, Any] = {term.weight_field: 0.0 for term in GENERATOR_TERMS if term.needs_bn}
    return dataclasses.replace(recipe, teacher_batch_statistics=False, **on_bn)
