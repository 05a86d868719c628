"""Writing students: one file a format."""
