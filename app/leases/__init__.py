"""Leases: what a worker may do with the job, the teacher or the measurement that it has claimed."""
