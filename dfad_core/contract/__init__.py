"""Settings with their bounds, the catalogue of methods, architectures and formats, and the results of a job.

Torch-free: a service imports it without the engine.
"""
