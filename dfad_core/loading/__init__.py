"""Reading teachers: one file a format, recognised by its bytes and never by its name."""

from dfad_core.loading.teacher import LoadedTeacher, load_teacher

__all__ = ["LoadedTeacher", "load_teacher"]
