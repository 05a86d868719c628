"""Python client and the `dfad` command line. Speaks HTTP only."""
