"""The commands of `dfad`, by topic."""
