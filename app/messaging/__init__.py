"""Messages to workers: a hint each, never the truth."""
