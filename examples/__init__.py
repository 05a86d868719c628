"""Small, real, runs on a laptop."""
