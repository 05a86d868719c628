"""Bytes that come in and are kept."""
