"""Parts of the measurements of the engine."""
