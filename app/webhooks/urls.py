"""What a webhook's URL may look like. The text alone: where its name leads is looked at at every try."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from app.platform.network_addresses import Allowed, is_host_name, literal

MAX_CHARACTERS = 2048
DEFAULT_PORTS = {"https": 443, "http": 80}
# Services that speak something else; nobody has a receiver there.
_SERVICES = frozenset(
    {
        *(1080, 1433, 1434, 1521, 1719, 1720, 1723, 2049, 2181, 2375, 2376, 2379, 2380, 3128, 3260, 3306),
        *(3389, 3659, 4045, 4369, 4444, 5060, 5061, 5432, 5433, 5672, 5900, 5984, 5985, 5986, 6000, 6379),
        *(6566, 6665, 6666, 6667, 6668, 6669, 6697, 7001, 8500, 9042, 9092, 9200, 9300, 10080, 10250, 10255),
        *(11211, 11434, 27017, 27018, 50070),
    }
)
_PRINTED = re.compile(r"[\x21-\x7e]+")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_INTERNAL = ("localhost", "local", "internal", "intranet", "lan", "home.arpa", "invalid", "onion", "test")


class UrlRefused(ValueError):
    """A URL that no message may go to; its text says why."""

    code = "webhook_url_refused"


@dataclass(frozen=True)
class Target:
    """Where a message goes: `host` is a name or an address, without brackets."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def host_header(self) -> str:
        """As HTTP wants it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def check_url(url: str, allowed: Allowed) -> Target:
    """The parts of `url`. Raises UrlRefused."""
    if len(url) > MAX_CHARACTERS:
        raise UrlRefused(f"longer than {MAX_CHARACTERS} characters")
    # Parsers disagree about such characters, and a guard that reads another host than the sender is none.
    if not _PRINTED.fullmatch(url) or "\\" in url:
        raise UrlRefused("only printable ASCII; write other host names as xn--… and other characters as %…")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise UrlRefused("not a URL") from error
    if parts.scheme not in DEFAULT_PORTS:
        raise UrlRefused("must begin with https:// or http://")
    if "@" in parts.netloc:
        raise UrlRefused("must not hold a user name or a password")
    if parts.fragment or url.endswith("#"):
        raise UrlRefused("must not have a fragment")
    _check_host(host, parts.netloc, allowed)
    if port is None:
        port = DEFAULT_PORTS[parts.scheme]
    if port not in DEFAULT_PORTS.values() and (port < 1024 or port in _SERVICES):
        raise UrlRefused(f"port {port} is not one of a receiver: use 443, 80 or one above 1023")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port, path)


def _check_host(host: str, netloc: str, allowed: Allowed) -> None:
    address = literal(host)
    if netloc.startswith("[") or address is not None:
        if address is None or (address.version == 6) != netloc.startswith("["):
            raise UrlRefused("the address cannot be read")
        if not allowed.address(address, host):
            raise UrlRefused("the address is not a public one")
        return
    if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        raise UrlRefused("an address is written as four decimal numbers")
    if not is_host_name(host):
        raise UrlRefused("the host's name cannot be read" + (": no dot at its end" if host else ""))
    if host in allowed.hosts:
        return
    if "." not in host or any(host == name or host.endswith(f".{name}") for name in _INTERNAL):
        raise UrlRefused("the host's name is not a public one")
