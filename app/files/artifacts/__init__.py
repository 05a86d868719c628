"""Artifacts: immutable bytes with a SHA-256."""
