"""What the environment says of the way to a server: proxies and certificates, and what is wrong with them."""

from __future__ import annotations

import importlib.util
import os
import ssl
from collections.abc import Iterator
from urllib.request import getproxies, proxy_bypass

import httpx2

from dfad_client.errors import UnusableEnvironment

SCHEMES = ("http", "https", "socks5", "socks5h")
CERTIFICATES = "SSL_CERT_FILE"
UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"
"""In the text of a connection's error."""


def unusable(error: Exception) -> UnusableEnvironment:
    """What to raise where no client can be made of the environment; it names the variable at fault."""
    return UnusableEnvironment(next(_faults(), f"The settings of proxies or certificates: {error}."))


def way_to(url: httpx2.URL) -> str:
    """Words on the proxy of a failed connection to `url`, or "" where it goes there directly."""
    name = _variable(url.scheme) or _variable("all")
    address = getproxies().get(url.scheme) or getproxies().get("all")
    if address is None or proxy_bypass(url.host):
        return ""
    return (
        f" through the proxy {_shown(address)} of {name or 'the system'}; NO_PROXY={url.host} goes around it"
    )


def advice_on(text: str) -> str:
    """A sentence on a connection's error that the user's certificates can mend, or ""."""
    if UNTRUSTED not in text:
        return ""
    return f" {CERTIFICATES} names a file of certificates to trust, such as those of your company."


def _faults() -> Iterator[str]:
    """A sentence on each variable that cannot be used."""
    for scheme in ("http", "https", "all"):
        address = getproxies().get(scheme)
        if address and (fault := _proxy_fault(address)):
            yield f"{_variable(scheme) or 'The proxy of the system'} is {_shown(address)}: {fault}."
    file = os.environ.get(CERTIFICATES)
    if file:
        try:
            ssl.create_default_context(cafile=file)
        except OSError as error:
            what = "no certificates in it" if isinstance(error, ssl.SSLError) else error.strerror or error
            yield f"{CERTIFICATES} is {file}: {what}."


def _proxy_fault(address: str) -> str:
    """Why it is no proxy, or ""."""
    try:
        scheme = httpx2.URL(address if "://" in address else f"http://{address}").scheme
    except httpx2.InvalidURL as error:
        return str(error)
    if scheme not in SCHEMES:
        return "a proxy's address begins with http://, https:// or socks5://"
    if scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        return "a SOCKS proxy needs the package socksio (pip install socksio)"
    return ""


def _variable(scheme: str) -> str:
    """The variable that names the proxy for addresses of `scheme`, as it is written, or ""."""
    names = (f"{scheme}_proxy", f"{scheme}_proxy".upper())
    return next((name for name in names if os.environ.get(name)), "")


def _shown(address: str) -> str:
    """The address without user and password."""
    scheme, separator, rest = address.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
