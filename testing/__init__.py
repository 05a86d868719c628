"""Real servers, workers, PostgreSQL and Redis as processes of their own, for tests and benchmarks alike."""
