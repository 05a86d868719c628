"""The page: rendered here, readable without scripts, asking no other host."""
