"""One try, over real sockets.

Guards: that the connection goes to an address that was checked and to no other, whatever the name answers a
moment later; that no redirect is followed and no proxy asked; that one deadline holds for everything; what
the receiver reads; and that a certificate is that of the name.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from app.platform.network_addresses import Allowed, parse_allowed
from app.webhooks import sending
from app.webhooks.schedule import LONGEST_ASKED_SECONDS, next_delay, seconds_asked
from app.webhooks.secrets import new_secret
from app.webhooks.sending import Outcome, post
from app.webhooks.signing import signed_headers
from tests.app.webhooks.conftest import Receiver

LOOPBACK = parse_allowed(("127.0.0.1",))
BODY = b'{"type":"job.succeeded"}'


def send(url: str, allowed: Allowed = LOOPBACK, seconds: float = 5, **options: Any) -> Outcome:
    return post(url, BODY, {"webhook-id": "dlv_1"}, seconds=seconds, allowed=allowed, **options)


class Names:
    """A name service that answers one thing after the other."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers, self.asked = list(answers), 0

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def connects(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where sockets are connected to; those that are public are sent to nobody."""
    seen: list[str] = []
    real = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        seen.append(address[0])
        if not address[0].startswith("127."):
            raise ConnectionRefusedError
        real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    return seen


def test_what_the_receiver_reads(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert send(receiver.url + "?a=b") == Outcome(204)
    ((path, headers, body),) = receiver.got
    assert (path, body) == ("/in?a=b", BODY)
    assert headers["host"] == f"127.0.0.1:{receiver.port}"
    assert (headers["content-type"], headers["webhook-id"]) == ("application/json", "dlv_1")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (200, None),
        (299, None),
        (301, "redirect"),
        (307, "redirect"),
        (404, "http_error"),
        (410, "gone"),
        (500, "http_error"),
    ],
)
def test_statuses(receiver: Receiver, status: int, error: str | None) -> None:
    receiver.answer = lambda handler: receiver.say(handler, status, Location=receiver.url, Retry_After="7")
    outcome = send(receiver.url)
    assert (outcome.status, outcome.error, outcome.retry_after) == (status, error, None)
    assert len(receiver.got) == 1


def test_a_pause_asked_for(receiver: Receiver) -> None:
    for status in (429, 503):
        receiver.answer = lambda handler, s=status: receiver.say(handler, s, Retry_After="7")
        assert send(receiver.url) == Outcome(status, "http_error", "7")


def test_a_name_that_answers_otherwise_a_moment_later(receiver: Receiver, connects: list[str]) -> None:
    """Rebinding: public when it is checked, loopback when somebody asks again. Nobody does."""
    names = Names(["93.184.215.14"], ["127.0.0.1"])
    assert (
        send(f"http://rebind.example.com:{receiver.port}/", Allowed(), resolver=names).error
        == "connection_failed"
    )
    assert (names.asked, connects) == (1, ["93.184.215.14"])
    assert (
        send(f"http://rebind.example.com:{receiver.port}/", Allowed(), resolver=names).error
        == "address_refused"
    )
    assert (names.asked, connects, receiver.got) == (2, ["93.184.215.14"], [])


def test_the_systems_resolver_is_asked_once(connects: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [[(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, 80))] for a in ("93.184.215.14", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers.pop(0))
    assert send("http://rebind.example.com/", Allowed()).error == "connection_failed"
    assert (connects, len(answers)) == (["93.184.215.14"], 1)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fe80::1%lo"]
)
def test_one_address_that_is_not_public_is_enough(connects: list[str], address: str) -> None:
    names = Names(["93.184.215.14", address])
    assert send("http://two.example.com/", Allowed(), resolver=names).error == "address_refused"
    assert connects == []


def test_the_next_address_is_tried(receiver: Receiver, connects: list[str]) -> None:
    names = Names(["93.184.215.14", "127.0.0.1"])
    assert send(f"http://two.example.com:{receiver.port}/", resolver=names) == Outcome(204)
    assert connects == ["93.184.215.14", "127.0.0.1"]


@pytest.mark.parametrize(
    "url", ["http://localhost/", "http://10.0.0.1/", "file:///etc/passwd", "http://a.example.com:22/"]
)
def test_the_url_is_looked_at_again(connects: list[str], url: str) -> None:
    assert send(url, Allowed(), resolver=Names(["93.184.215.14"])).error == "url_refused"
    assert connects == []


def test_a_name_that_nobody_knows() -> None:
    def unknown(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror

    assert send("http://a.example.com/", resolver=unknown).error == "not_resolved"
    assert send("http://a.example.com/", resolver=Names([])).error == "not_resolved"


def test_a_resolver_that_hangs() -> None:
    over = threading.Event()
    names = Names(["93.184.215.14"])
    asked = send("http://a.example.com/", seconds=0.2, resolver=lambda h, p: (over.wait(30), names(h, p))[1])
    over.set()
    assert asked.error == "timeout"


class Raw:
    """A server that does with each connection what it is told."""

    def __init__(self, act: Callable[[socket.socket], None]) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/"
        self._act = act
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connected, _ = self._listening.accept()
            except OSError:
                return
            with connected:
                connected.recv(65536)
                try:
                    self._act(connected)
                except OSError:
                    continue

    def close(self) -> None:
        self._listening.close()


def drip(connected: socket.socket) -> None:
    """A byte of a header now and then: each read succeeds, the whole never does."""
    connected.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    for _ in range(200):
        connected.sendall(b"a")
        time.sleep(0.05)


def hang(connected: socket.socket) -> None:
    connected.settimeout(20)
    while connected.recv(4096):
        pass


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (drip, "timeout"),
        (hang, "timeout"),
        (lambda connected: None, "connection_failed"),
        (lambda connected: connected.sendall(b"SSH-2.0-OpenSSH_9.6\r\n"), "bad_response"),
        (lambda connected: connected.sendall(b"HTTP/1.1 2x0 OK\r\n\r\n"), "bad_response"),
        (lambda connected: connected.sendall(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 2**17), "bad_response"),
        (
            lambda connected: connected.sendall(b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 200 + b"\r\n"),
            "bad_response",
        ),
    ],
)
def test_receivers_that_misbehave(act: Callable[[socket.socket], None], error: str) -> None:
    server = Raw(act)
    outcome = send(server.url, seconds=0.5)
    server.close()
    assert outcome.error == error


def test_a_body_without_end_is_not_read() -> None:
    sent = []

    def pour(connected: socket.socket) -> None:
        connected.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(1000):
            connected.sendall(b"a" * 2**16)
            sent.append(1)

    server = Raw(pour)
    assert send(server.url) == Outcome(200)
    server.close()
    assert len(sent) < 1000


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    assert send(f"http://127.0.0.1:{port}/").error == "connection_failed"


@pytest.fixture
def certified(tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A receiver with TLS and a certificate for hooks.example.com, which the machine trusts."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hooks.example.com")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.example.com")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    receiver.server.socket = context.wrap_socket(receiver.server.socket, server_side=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    sending._trust.cache_clear()
    yield receiver
    sending._trust.cache_clear()


def test_tls_is_that_of_the_name(certified: Receiver) -> None:
    names = Names(["127.0.0.1"])
    assert send(f"https://hooks.example.com:{certified.port}/in", resolver=names) == Outcome(204)
    assert certified.got[0][1]["host"] == f"hooks.example.com:{certified.port}"
    assert send(f"https://other.example.com:{certified.port}/in", resolver=names).error == "tls_failed"
    assert send(f"https://127.0.0.1:{certified.port}/in").error == "tls_failed"
    assert len(certified.got) == 1


def test_a_certificate_that_nobody_vouches_for(certified: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    sending._trust.cache_clear()
    outcome = send(f"https://hooks.example.com:{certified.port}/in", resolver=Names(["127.0.0.1"]))
    assert (outcome.error, certified.got) == ("tls_failed", [])


def test_the_official_library_takes_our_signatures() -> None:
    old, new = new_secret(), new_secret()
    headers = signed_headers([new, old], "dlv_1", int(time.time()), BODY)
    for secret in (old, new):
        assert Webhook(secret).verify(BODY, headers) == {"type": "job.succeeded"}
    for wrong in (
        (new_secret(), BODY, headers),
        (new, BODY + b" ", headers),
        (new, BODY, headers | {"webhook-id": "dlv_2"}),
        (new, BODY, headers | {"webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1)}),
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(wrong[0]).verify(wrong[1], wrong[2])


def test_a_published_example() -> None:
    """Of the specification's own reference libraries."""
    headers = signed_headers(
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_schedule_lasts_three_days_and_ends() -> None:
    from app.platform.settings import Settings

    schedule = Settings().webhook_retry_seconds
    assert 72 < sum(schedule) / 3600 < 80
    for number, pause in enumerate(schedule):
        delays = [next_delay(schedule, number) or 0 for _ in range(50)]
        assert all(pause <= delay <= pause * 1.2 for delay in delays)
        assert len(set(delays)) > 1
    assert next_delay(schedule, len(schedule), 5.0) is None


def test_a_pause_asked_for_is_kept_within_bounds() -> None:
    assert next_delay((5,), 0, 60.0) == 60
    assert 5 <= (next_delay((5,), 0, 1.0) or 0) <= 6
    assert next_delay((5,), 0, 1e9) == LONGEST_ASKED_SECONDS
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    texts = {"7": 7, " 7 ": 7, "Fri, 02 Jan 2026 03:04:35 GMT": 30, "Fri, 02 Jan 2026 03:04:00 GMT": 0}
    assert {text: seconds_asked(text, now) for text in texts} == texts
    for text in (None, "", "-1", "1.5", "soon", "٧"):
        assert seconds_asked(text, now) is None
    assert seconds_asked("9" * 400, now) == 999_999_999
