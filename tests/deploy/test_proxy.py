"""The proxy's settings in deploy/proxy, in a real nginx before a real server."""

import shutil
import ssl
import subprocess

import httpx
import pytest

from testing.services import free_port, wait_for_port
from tests.app.http.test_server import MIB, SPEC, Server
from tests.deploy.deployment import ROOT

MAIN = """
daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    include {folder}/dfad.conf;
}}
"""
KEY = "the-operators-own-key"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Of nobody, for dfad.example."""
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "1", "-subj", "/CN=dfad.example", "-addext", "subjectAltName=DNS:dfad.example,IP:127.0.0.1",
         "-keyout", "privkey.pem", "-out", "fullchain.pem"],
        cwd=folder, check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    return folder


@pytest.fixture
def proxied(home, database, tmp_path, certificate, missing):
    """A client of the server that goes through nginx, and the address without TLS."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if program is None:
        missing("nginx")
    server = Server(home, api_key=KEY, sse_keep_alive_seconds="0.3")
    plain, secure = free_port(), free_port()
    text = (ROOT / "deploy" / "proxy" / "nginx.conf").read_text()
    for old, new in (
        ("127.0.0.1:8000", f"127.0.0.1:{server.port}"),
        ("listen 80;", f"listen 127.0.0.1:{plain};"),
        ("listen 443 ", f"listen 127.0.0.1:{secure} "),
        ("/etc/ssl/dfad.example", str(certificate)),
    ):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "dfad.conf").write_text(text)
    (tmp_path / "nginx.conf").write_text(MAIN.format(folder=tmp_path))
    with (tmp_path / "error.log").open("wb") as log:
        nginx = subprocess.Popen([program, "-c", str(tmp_path / "nginx.conf")], stdout=log, stderr=log)
    try:
        wait_for_port(secure, nginx, tmp_path / "error.log")
        trusted = ssl.create_default_context(cafile=str(certificate / "fullchain.pem"))
        headers = {"Authorization": f"Bearer {KEY}"}
        with httpx.Client(
            base_url=f"https://127.0.0.1:{secure}", verify=trusted, headers=headers, timeout=30
        ) as http:
            yield http, f"http://127.0.0.1:{plain}"
    finally:
        nginx.terminate()
        nginx.wait(20)
        server.process.kill()
        server.process.wait()


@pytest.mark.services
def test_uploads_streams_and_the_page_pass(proxied):
    http, plain = proxied
    moved = httpx.get(f"{plain}/jobs?limit=1", headers={"Host": "dfad.example"})
    assert (moved.status_code, moved.headers["location"]) == (301, "https://dfad.example/jobs?limit=1")

    sent = http.post(
        "/jobs", files={"teacher": ("t.pt", b"PK\x03\x04" + b"w" * 3 * MIB), "spec": (None, SPEC)}
    )
    assert sent.status_code == 201, sent.text

    # What is kept back by a proxy would not come before the stream's end, and this one has none.
    with http.stream(
        "GET", f"/jobs/{sent.json()['id']}/events", headers={"Accept": "text/event-stream"}
    ) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        assert any(line == "event: job.queued" for line in lines)
        assert any(line.startswith(":") for line in lines)

    named = {"Host": "dfad.example", "Origin": "https://dfad.example", "Sec-Fetch-Site": "same-origin"}
    signed_in = http.post("/ui/sign-in", data={"key": KEY}, headers=named)
    assert signed_in.status_code == 303, signed_in.text
    assert "secure" in signed_in.headers["set-cookie"].lower()
    foreign = http.post(
        "/ui/sign-in", data={"key": KEY}, headers={**named, "Origin": "https://elsewhere.example"}
    )
    assert foreign.status_code == 403
