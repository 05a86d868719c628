"""Parts of the measurements of the service."""
