"""File formats: reading teachers, students and labelled images, and writing students."""

import importlib

from dfad_core.contract.formats import FORMATS
from dfad_core.formats.interface import LoadedTeacher
from dfad_core.formats.teacher import load_teacher

# All at once: a process that reads uploaded files cannot import modules any more.
for _row in FORMATS.values():
    importlib.import_module(_row.module)

__all__ = ["LoadedTeacher", "load_teacher"]
