"""Jobs: what may be asked, how a job changes, what is told of it."""
