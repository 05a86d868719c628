"""Teachers: uploaded models."""
