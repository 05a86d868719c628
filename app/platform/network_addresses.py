"""Which network addresses messages may go to. Pure: no name is looked up here.

Only what is global is public. Addresses that carry another one inside (IPv4-mapped, 6to4, Teredo) are
refused whatever it is, for a kernel or a relay may follow the one inside; those of NAT64, which are how
machines without IPv4 reach all others, are judged by it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NAT64 = IPv6Network("64:ff9b::/96")
_GLOBAL6 = IPv6Network("2000::/3")
# Python's own tables differ from version to version; these are held in any case.
_CLOSED = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # this network; Linux takes 0.0.0.0 for itself
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' own, and clouds' metadata
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local, and clouds' metadata
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "168.63.129.16/32",  # looks public, and is the host of a virtual machine
        "2001::/23",  # Teredo and other protocols
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "3fff::/20",
    )
)
# Where a cloud gives out credentials: not even for a host that is allowed by name.
_METADATA = tuple(
    ip_network(text)
    for text in ("169.254.0.0/16", "fe80::/10", "168.63.129.16/32", "100.100.100.200/32", "fd00:ec2::254/128")
)
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")


def is_public(address: Address) -> bool:
    """Whether everybody in the world means the same machine by it."""
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
        if address not in _GLOBAL6:
            return False
    return address.is_global and not _in(address, _CLOSED)


def _in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def is_host_name(text: str) -> bool:
    """Whether `text`, in lower case, can be the name of a host (not an address)."""
    return len(text) <= 253 and _HOST.fullmatch(text) is not None


@dataclass(frozen=True)
class Allowed:
    """What the operator opens beyond what is public."""

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    def address(self, address: Address, host: str) -> bool:
        """Whether messages for `host` may go to `address`."""
        if is_public(address) or _in(address, self.networks):
            return True
        return host in self.hosts and not _in(_bare(address), _METADATA)


def _bare(address: Address) -> Address:
    """The IPv4 address inside a mapped one or one of NAT64."""
    if isinstance(address, IPv6Address) and address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


@lru_cache
def parse_allowed(entries: tuple[str, ...]) -> Allowed:
    """Names of hosts, addresses and networks. Raises ValueError for what is none of them."""
    hosts, networks = set(), []
    for entry in entries:
        try:
            networks.append(ip_network(entry))
        except ValueError:
            if not is_host_name(entry.lower()) or "/" in entry:
                raise ValueError(f"{entry!r} is no host, address or network") from None
            hosts.add(entry.lower())
    return Allowed(frozenset(hosts), tuple(networks))


def literal(host: str) -> Address | None:
    """The address that `host` spells out; None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None
