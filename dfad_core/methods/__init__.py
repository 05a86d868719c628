"""Presets: terms on the generator, terms on the student, a sampling policy and schedules."""

from dfad_core.methods.game import Game, build_game
from dfad_core.methods.presets import PRESETS, resolve_recipe
from dfad_core.methods.recipe import Recipe

__all__ = ["PRESETS", "Game", "Recipe", "build_game", "resolve_recipe"]
