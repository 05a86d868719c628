"""Where messages may go, by the text and by the address.

Guards: every known way to write a private address, and every kind of address that is not public.
"""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from pydantic import ValidationError

from app.platform.network_addresses import Allowed, is_public, parse_allowed
from app.platform.settings import Settings
from app.webhooks.urls import UrlRefused, check_url

NONE = Allowed()


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.9.9.9"),
        *("169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1"),
        *("192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1"),
        *("255.255.255.255", "168.63.129.16"),
        *("::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1"),
        *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:7f00:1::"),
        *(
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
        ),
        *("fe80::1", "fec0::1", "ff02::1", "5f00::1"),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "64:ff9b::808:808"]
)
def test_addresses_that_are(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        *("http://169.254.169.254/latest/meta-data", "http://[::ffff:127.0.0.1]/", "http://0x7f000001/"),
        *(
            "http://localhost./",
            "http://user:pass@example.com/",
            "http://user@example.com/",
            "file:///etc/passwd",
        ),
        *(
            "http://example.com:22/",
            "http://example.com:0/",
            "http://example.com:6379/",
            "http://example.com:70000/",
        ),
        *("http://127.0.0.1/", "http://127.1/", "http://2130706433/", "http://0177.0.0.1/", "http://0/"),
        *(
            "http://127.0.0.1./",
            "http://0x7f.0.0.1/",
            "http://1.2.3.0x4/",
            "http://10.0.0.1:8080/",
            "http://1.2.3/",
        ),
        *(
            "http://[::1]/",
            "http://[::]/",
            "http://[fe80::1%25eth0]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[v1.x]/",
        ),
        *("http://[127.0.0.1]/", "http://[example.com]/", "http://::1/", "http://[::1/"),
        *(
            "http://localhost/",
            "http://LOCALHOST/",
            "http://a.localhost/",
            "http://printer/",
            "http://a.internal/",
        ),
        *(
            "http://metadata.google.internal/",
            "http://a.local/",
            "http://router.home.arpa/",
            "http://example.com./",
        ),
        *(
            "ftp://example.com/",
            "gopher://example.com/",
            "javascript:alert(1)",
            "//example.com/",
            "example.com",
            "",
        ),
        *(
            "http://",
            "http:///x",
            "http:example.com",
            "http://?x",
            "http://.example.com/",
            "http://a..example.com/",
        ),
        *(
            "http://exa mple.com/",
            "http://example.com/\r\nX: y",
            "http://example.com\\@127.0.0.1/",
            "\thttp://a.com/",
        ),
        *("http://ⓔxample.com/", "http://127。0。0。1/", "http://１２７.0.0.1/", "http://exämple.com/"),
        *(
            "http://example.com/#x",
            "http://example.com#",
            "http://ex%61mple.com/",
            "http://127.0.0.1%2f@a.com/",
        ),
        *("http://-a.com/", "http://a-.com/", f"http://{'a' * 64}.com/", f"http://{'a.' * 130}com/"),
        *("http://example.com/" + "a" * 2048, "http://\0example.com/", "http://example.com:8 0/"),
    ],
)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(UrlRefused):
        check_url(url, NONE)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        (
            "https://hooks.example.com/in?a=b",
            ("https", "hooks.example.com", 443, "/in?a=b", "hooks.example.com"),
        ),
        ("HTTP://Example.COM", ("http", "example.com", 80, "/", "example.com")),
        ("https://example.com:8443/x", ("https", "example.com", 8443, "/x", "example.com:8443")),
        ("http://example.com:443/", ("http", "example.com", 443, "/", "example.com:443")),
        ("https://8.8.8.8/", ("https", "8.8.8.8", 443, "/", "8.8.8.8")),
        (
            "https://[2606:4700::1111]:8443/",
            ("https", "2606:4700::1111", 8443, "/", "[2606:4700::1111]:8443"),
        ),
        ("https://xn--exmple-cua.com/", ("https", "xn--exmple-cua.com", 443, "/", "xn--exmple-cua.com")),
        ("https://a_b.example.com/%20", ("https", "a_b.example.com", 443, "/%20", "a_b.example.com")),
    ],
)
def test_urls_that_are_taken(url: str, parts: tuple[str, str, int, str, str]) -> None:
    target = check_url(url, NONE)
    assert (target.scheme, target.host, target.port, target.path, target.host_header) == parts


def test_what_the_operator_opens() -> None:
    allowed = parse_allowed(("10.1.0.0/16", "::1", "Hooks.internal", "localhost"))
    for url in ("http://10.1.2.3:8080/", "http://[::1]/", "http://hooks.internal/", "http://localhost:9000/"):
        check_url(url, allowed)
    for url in (
        "http://10.2.0.1/",
        "http://a.hooks.internal/",
        "http://127.0.0.1/",
        "http://hooks.internal:22/",
    ):
        with pytest.raises(UrlRefused):
            check_url(url, allowed)
    assert allowed.address(ip_address("192.168.0.1"), "hooks.internal")
    assert not allowed.address(ip_address("192.168.0.1"), "other.example.com")
    # Nobody means these by a name.
    for metadata in (
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "fd00:ec2::254",
        "100.100.100.200",
    ):
        assert not allowed.address(ip_address(metadata), "hooks.internal")


@pytest.mark.parametrize("entry", ["10.1.0.1/16", "http://a", "a b", "", "a/b"])
def test_a_setting_that_opens_nothing_is_refused(entry: str) -> None:
    with pytest.raises(ValidationError):
        Settings(webhook_allow=(entry,))
