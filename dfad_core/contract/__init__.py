"""What the engine and its callers agree on: settings, their bounds, the catalogue, what fits into a file.

Torch-free: a service reads it without the engine.
"""
