"""A worker in another network: it reaches the service over HTTPS alone, and holds no key but its own."""
