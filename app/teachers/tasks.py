"""Names of the messages about teachers."""

INSPECT_TEACHER = "dfad.inspect_teacher"
