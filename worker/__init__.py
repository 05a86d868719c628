"""Claims a job, runs the engine in a process of its own, stores what comes out."""
