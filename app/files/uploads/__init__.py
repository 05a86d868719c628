"""Uploads in parts: files too large, or lines too bad, for one request."""
