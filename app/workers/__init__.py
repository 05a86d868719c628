"""The workers, as the service sees them."""
