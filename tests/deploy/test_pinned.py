"""The images that run are named by version and digest, and none of a version with holes that are known."""

import os
import re
import subprocess
import tomllib

import pytest

from tests.deploy.deployment import ROOT, compose
from tools import pin_images

GPU = ("docker-compose.yml", "docker-compose.gpu.yml")
FLOORS = {
    "redis": {7: (7, 4, 11)},  # CVE-2025-49844 is mended from 7.4.6 on, CVE-2026-81934 from 7.4.11 on
    "postgres": {17: (17, 11), 18: (18, 6)},  # CVE-2026-6473 and ten more are mended from 17.10 and 18.4 on
    "python": {3: (3, 12, 15)},
    "prom/prometheus": {3: (3, 13, 4)},
    "grafana/grafana": {12: (12, 4, 11)},
    "rustfs/rustfs": {1: (1, 0, 1)},
}
"""Of each major version the first release that is taken: none older has all the mends that were known."""


def every_image():
    return [image for path in pin_images.files() for image in pin_images.images(path.read_text())]


def version(tag):
    found = re.match(r"v?(\d+(?:\.\d+)+)(?:-|$)", tag)
    assert found, f"{tag} is no exact version"
    return tuple(int(part) for part in found.group(1).split("."))


def test_every_image_is_an_exact_version_and_a_digest():
    for image in every_image():
        assert len(version(image.tag)) >= (2 if image.name == "postgres" else 3), image
        assert image.digest, f"{image.reference}: make pin-images"
        assert "latest" not in image.tag
    # What Compose runs is what was looked at above; the rest is built here, under this package's own version.
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    named = {f"{image.reference}@{image.digest}" for image in every_image()}
    for name, service in compose(*GPU, profiles="*")["services"].items():
        if "build" in service:
            assert re.fullmatch(rf"dfad-[a-z-]+:{re.escape(ours)}", service["image"]), name
        else:
            assert service["image"] in named, name


def test_no_image_has_holes_that_are_known():
    for image in every_image():
        found = version(image.tag)
        line = FLOORS[image.name]
        assert found[0] in line, (
            f"{image.reference}: look up what its line has mended, and write it down here"
        )
        assert found >= line[found[0]], f"{image.reference} is below {line[found[0]]}"


def test_one_tag_has_one_digest():
    """Two would run two versions of one server under one name."""
    digests = {}
    for image in every_image():
        assert digests.setdefault(image.reference, image.digest) == image.digest, image.reference


def test_nothing_else_is_fetched_to_build():
    """A frontend named by `# syntax=` would be one more image, by a tag that moves."""
    assert "# syntax=" not in (ROOT / "Dockerfile").read_text()


@pytest.fixture
def copy(tmp_path, monkeypatch):
    for path in pin_images.files():
        (tmp_path / path.name).write_text(re.sub(r"@sha256:[0-9a-f]{64}", "", path.read_text()))
    monkeypatch.setattr(pin_images, "ROOT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    return tmp_path


def program(folder, name, text):
    path = folder / "bin" / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("name", ["docker", "skopeo", "crane"])
def test_digests_are_written_beside_their_tags(copy, name, capsys):
    digest = "sha256:" + "ab" * 32
    program(copy, name, f'echo "$*" >> {copy}/asked; echo {digest}')
    assert pin_images.main() == 0
    named = [image for path in pin_images.files() for image in pin_images.images(path.read_text())]
    assert {image.digest for image in named} == {digest}
    assert {image.reference for image in named} == {image.reference for image in every_image()}
    before = (copy / "docker-compose.yml").read_text()
    asked = (copy / "asked").read_text()
    assert all(image.reference in asked for image in named)
    assert "dfad-" not in asked
    capsys.readouterr()
    assert pin_images.main() == 0  # a second time changes nothing
    assert (copy / "docker-compose.yml").read_text() == before
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "answer", [None, "echo 'failed: dial tcp: lookup registry.example: no such host' >&2; exit 1"]
)
def test_without_a_registry_nothing_is_changed(copy, answer, capsys):
    if answer:
        program(copy, "docker", answer)
    before = {path: path.read_text() for path in pin_images.files()}
    assert pin_images.main() == 0
    assert capsys.readouterr().out.startswith("skipped, nothing is changed: ")
    assert {path: path.read_text() for path in pin_images.files()} == before


def test_a_tag_that_is_not_there_is_an_error(copy, capsys):
    program(
        copy,
        "crane",
        "case $2 in redis*) echo 'MANIFEST_UNKNOWN' >&2; exit 1;; *) echo sha256:$(printf %064d 1);; esac",
    )
    before = {path: path.read_text() for path in pin_images.files()}
    assert pin_images.main() == 1
    assert "redis:" in capsys.readouterr().err
    assert {path: path.read_text() for path in pin_images.files()} == before


def test_the_bucket_is_made_once_and_the_key_is_in_no_list(tmp_path):
    """The command of Compose against a server that speaks S3, with a curl that tells its arguments."""
    from moto.server import ThreadedMotoServer

    from testing.services import free_port

    port = free_port()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    try:
        service = compose(profiles="rustfs")["services"]["rustfs-bucket"]
        (tmp_path / "secret").write_text('a"b\\c')
        script = service["entrypoint"][2].replace("$$", "$")
        for old, new in (
            ("http://rustfs:9000", f"http://127.0.0.1:{port}"),
            ("/run/secrets/s3_secret_access_key", str(tmp_path / "secret")),
            ("/tmp/answer", str(tmp_path / "answer")),
        ):
            assert old in script
            script = script.replace(old, new)
        (tmp_path / "curl").write_text(
            f'#!/bin/sh\necho "$@" >> {tmp_path}/arguments\nPATH={os.environ["PATH"]} exec curl "$@"\n'
        )
        (tmp_path / "curl").chmod(0o755)
        env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **service["environment"]}
        for _ in range(2):
            ran = subprocess.run(
                ["sh", "-c", script], env=env, capture_output=True, text=True, timeout=30, check=False
            )
            assert ran.returncode == 0, ran.stderr
        assert "b\\c" not in (tmp_path / "arguments").read_text()
        import boto3

        s3 = boto3.client(
            "s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1",
            aws_access_key_id="dfad", aws_secret_access_key='a"b\\c',
        )  # fmt: skip
        assert "dfad" in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
    finally:
        server.stop()
    ran = subprocess.run(
        ["sh", "-c", script], env=env, capture_output=True, text=True, timeout=30, check=False
    )
    assert ran.returncode == 1
    assert "the bucket was not made" in ran.stderr


def test_make_knows_the_tool():
    said = subprocess.run(
        ["make", "-n", "pin-images"], cwd=ROOT, capture_output=True, text=True, timeout=20, check=True
    )
    assert "tools/pin_images.py" in said.stdout
