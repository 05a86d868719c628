"""Methods made concrete: terms on the generator, terms on the student, and their weights."""

from dfad_core.methods.objective import Objective, build_objective
from dfad_core.methods.recipe import resolve_recipe

__all__ = ["Objective", "build_objective", "resolve_recipe"]
