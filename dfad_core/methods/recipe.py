"""The recipe of one job: its method's recipe, with the job's settings and without what the teacher lacks."""

from __future__ import annotations

import dataclasses
from typing import Any

from dfad_core.contract.config import DistillConfig
from dfad_core.contract.methods import get_method
from dfad_core.contract.recipe import Recipe
from dfad_core.methods.terms import GENERATOR_TERMS


def resolve_recipe(config: DistillConfig, *, teacher_has_bn: bool, student_has_bn: bool = True) -> Recipe:
    """The recipe of the config's method, with the job's own values in place of the method's.

    Weights of terms on BN are 0 for a teacher without BN. A student without BN gets Adam in the place of a
    method's SGD, whose rates are too high for it. Raises ConfigError (`unknown_method`) for a name
    that is not in the catalogue.
    """
    channels = config.input.shape[0]
    recipe = get_method(config.method.name).recipe_for(teacher_has_bn=teacher_has_bn, channels=channels)
    if recipe.student_optimizer == "sgd" and not student_has_bn:
        recipe = dataclasses.replace(recipe, student_optimizer="adam", student_learning_rate=None)
    recipe = recipe.with_settings(config.training, config.method)
    if teacher_has_bn:
        return recipe
    on_bn: dict[str, Any] = {term.weight_field: 0.0 for term in GENERATOR_TERMS if term.needs_bn}
    return dataclasses.replace(recipe, teacher_batch_statistics=False, **on_bn)
