"""Presets: terms on the generator, terms on the student, a sampling policy and schedules."""

from dfad_core.methods.objective import Objective, build_objective
from dfad_core.methods.presets import PRESETS, resolve_recipe
from dfad_core.methods.recipe import Recipe

__all__ = ["PRESETS", "Objective", "Recipe", "build_objective", "resolve_recipe"]
