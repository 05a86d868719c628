"""Addresses of servers."""

from __future__ import annotations

import ipaddress

import httpx2

from dfad_client.errors import ConnectionFailed

DEFAULT_BASE_URL = "http://127.0.0.1:8000"


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def checked(base_url: str) -> httpx2.URL:
    """The address as a URL. Raises ConnectionFailed for what is none."""
    try:
        url = httpx2.URL(base_url.rstrip("/"))
    except httpx2.InvalidURL as error:
        raise ConnectionFailed(f"{base_url!r} is not an address: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ConnectionFailed(f"{base_url!r} is not an address like {DEFAULT_BASE_URL}.")
    return url
