"""A method for two networks: its recipe for a job, its terms and the objective they form."""

from dfad_core.methods.objective import Objective, build_objective
from dfad_core.methods.recipe import resolve_recipe

__all__ = ["Objective", "build_objective", "resolve_recipe"]
