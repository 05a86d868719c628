"""Attacks by one tenant, or by somebody without a key, while another tenant polls its jobs."""
