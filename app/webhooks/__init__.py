"""Webhooks: telling others what became of jobs."""
