"""The examples in the losses' docstrings run and print what they say; every loss has one."""

import doctest
import importlib
import pkgutil

import pytest

from dfad_core import losses

MODULES = [module.name for module in pkgutil.iter_modules(losses.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name: str) -> None:
    results = doctest.testmod(importlib.import_module(f"dfad_core.losses.{name}"))
    assert results.attempted > 0
    assert results.failed == 0
