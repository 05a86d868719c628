"""Terms of a method's objective, one a file; all modules of this package are searched for terms.

A term names the recipe's field with its weight and builds itself from the recipe. A new one needs its loss,
its own file and that field.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TypeVar

from dfad_core.methods.terms.base import GeneratorTerm, GeneratorView, StudentTerm, StudentView

__all__ = ["GENERATOR_TERMS", "STUDENT_TERMS", "GeneratorTerm", "GeneratorView", "StudentTerm", "StudentView"]


Term = TypeVar("Term", GeneratorTerm, StudentTerm)


def _terms_of(kind: type[Term]) -> tuple[type[Term], ...]:
    """The subclasses of `kind` that the package's modules define, in the modules' alphabetical order."""
    terms: list[type[Term]] = []
    for entry in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{entry.name}")
        for value in vars(module).values():
            defined_here = isinstance(value, type) and value.__module__ == module.__name__
            if defined_here and issubclass(value, kind) and value is not kind:
                terms.append(value)
    return tuple(terms)


GENERATOR_TERMS = _terms_of(GeneratorTerm)
STUDENT_TERMS = _terms_of(StudentTerm)
