"""File formats: reading teachers, students and labelled images, and writing students."""

from dfad_core.formats.teacher import LoadedTeacher, load_teacher

__all__ = ["LoadedTeacher", "load_teacher"]
