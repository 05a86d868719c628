"""The catalogue's networks, one family a file."""
