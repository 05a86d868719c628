"""The honest report of a distillation. Needs the `report` extra (matplotlib, jinja2)."""
