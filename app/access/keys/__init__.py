"""Keys: who may do what, for which tenant."""
