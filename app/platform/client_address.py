"""Whom a request or a connection is counted for, where no key says it yet."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

IPV6_NETWORK_BITS = 64
"""What a provider hands out to one customer at the least, who has all addresses in it."""
UNKNOWN = "unknown"
MAX_CHARACTERS = 64


@lru_cache(maxsize=4096)
def source_of(address: str | None) -> str:
    """The address itself; of IPv6 its network; anything for what a trusted proxy says and is none."""
    if address is None:
        return UNKNOWN
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:MAX_CHARACTERS]
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found), IPV6_NETWORK_BITS), strict=False).network_address)
