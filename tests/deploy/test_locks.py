"""What the images install is locked by version and hash; the tools that lock, audit and list it."""

import json
import re
import subprocess
import sys
from importlib import metadata

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.deployment import ROOT, requirements
from tools import audit_locks, lock_images, sbom

LOCKS = ROOT / "deploy" / "lock"
FILES = ("build.txt", "api.txt", "worker.txt", "torch.txt")
OF_IMAGE = {"api": ("api.txt",), "worker": ("worker.txt", "torch.txt")}


def locked(*names):
    """Versions by package, of the files' lines."""
    found = {}
    for name in names:
        text = re.sub(r"^#.*\n", "", (LOCKS / name).read_text(), flags=re.MULTILINE)
        for line in text.replace(" \\\n", " ").splitlines():
            wanted, *hashes = line.split(" --hash=")
            requirement = Requirement(wanted)
            assert re.fullmatch(r"==[\w.]+", str(requirement.specifier)), line
            assert hashes, line
            assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", text.strip()) for text in hashes), line
            package = canonicalize_name(requirement.name)
            assert package not in found, line
            found[package] = str(requirement.specifier)[2:]
    return found


def test_every_line_is_a_version_with_hashes():
    for name in FILES:
        assert locked(name), name
        text = (LOCKS / name).read_text()
        assert "://" not in text, "no index is named"
        assert " @ " not in text


def test_versions_are_those_of_the_tests():
    """An image with others would be one that nothing was tried with."""
    held = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    )
    held = {canonicalize_name(name): version for name, version in held.items()}
    for name in FILES:
        for package, version in locked(name).items():
            assert held.get(package) == version, f"{name}: {package}: make lock"


@pytest.mark.parametrize("image", OF_IMAGE)
def test_an_image_has_all_that_it_asks_for(image):
    """And all that this asks for, as far as it is installed here."""
    found = locked(*OF_IMAGE[image])
    todo, seen = [Requirement(line) for line in requirements(*lock_images.IMAGES[image])], set()
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        assert name in found, f"{wanted}: make lock"
        assert wanted.specifier.contains(found[name], prereleases=True), f"{wanted}: make lock"
        if str(wanted) in seen:
            continue
        seen.add(str(wanted))
        try:
            needs = [Requirement(line) for line in metadata.requires(wanted.name) or []]
        except metadata.PackageNotFoundError:
            continue
        for extra in ("", *wanted.extras):
            inside = {**lock_images.environment("x86_64"), "extra": extra}
            todo += [
                need
                for need in needs
                # The build for processors that tests may run with names other companions than CUDA's.
                if name not in ("torch", "triton") and (need.marker is None or need.marker.evaluate(inside))
            ]
    assert "torch" not in locked("api.txt")
    assert {"torch", "torchvision"} <= locked("torch.txt").keys()


def test_a_wheel_for_each_machine_or_none():
    def package(**changes):
        wheels = [
            {"name": f"one-1.0-cp312-cp312-manylinux_2_28_{machine}.whl", "hashes": {"sha256": digest * 64}}
            for machine, digest in (("x86_64", "a"), ("aarch64", "b"))
        ]
        other = {"name": "one-1.0-cp312-cp312-win_amd64.whl", "hashes": {"sha256": "c" * 64}}
        return {"name": "one", "version": "1.0", "wheels": [*wheels, other], **changes}

    both = lock_images.entry(package())
    assert both.split() == ["one==1.0", "\\", f"--hash=sha256:{'a' * 64}", "\\", f"--hash=sha256:{'b' * 64}"]
    assert lock_images.entry(package(marker="sys_platform == 'win32'")) == ""
    alone = lock_images.entry(package(marker="platform_machine == 'aarch64'"))
    assert alone.startswith('one==1.0 ; platform_machine == "aarch64" \\')
    assert Marker('platform_machine == "aarch64"')
    assert "a" * 64 not in alone
    with pytest.raises(lock_images.NotLocked, match="no wheel for aarch64"):
        lock_images.entry(package(wheels=package()["wheels"][:1]))
    pure = {"url": "https://files.example/one-1.0-py3-none-any.whl", "hashes": {"sha256": "d" * 64}}
    assert "d" * 64 in lock_images.entry(package(wheels=[pure]))
    newer = {"name": "one-1.0-cp312-cp312-manylinux_2_41_x86_64.whl", "hashes": {"sha256": "e" * 64}}
    with pytest.raises(lock_images.NotLocked):  # for a newer C library than the image has
        lock_images.entry(package(wheels=[newer]))


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Makes a program, in the only folder where programs are looked for."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def program(name, text):
        (tmp_path / name).write_text(f"#!{sys.executable}\nimport json, sys\n{text}\n")
        (tmp_path / name).chmod(0o755)

    return program


@pytest.mark.parametrize("answer", [None, "sys.exit('error: dns error: failed to lookup address')"])
def test_without_an_index_no_lock_is_changed(programs, answer, monkeypatch, capsys):
    if answer:
        programs("uv", answer)
    monkeypatch.setattr(sys, "argv", ["lock_images.py"])
    before = {path: path.read_bytes() for path in LOCKS.iterdir()}
    assert lock_images.main() == 0
    assert capsys.readouterr().out.startswith("skipped, nothing is changed: ")
    assert {path: path.read_bytes() for path in LOCKS.iterdir()} == before


def test_versions_that_do_not_go_together_are_an_error(programs, monkeypatch, capsys):
    programs("uv", "sys.exit('No solution found when resolving dependencies')")
    monkeypatch.setattr(sys, "argv", ["lock_images.py"])
    assert lock_images.main() == 1
    assert "No solution" in capsys.readouterr().err


def test_torch_of_another_index_is_locked_alone(programs, monkeypatch, tmp_path, capsys):
    """The address goes to uv and into no file."""
    told = (
        "out = sys.argv[sys.argv.index('--output-file') + 1]\n"
        "assert sys.argv[sys.argv.index('--default-index') + 1] == 'https://mirror.example/simple'\n"
        'one = \'[[packages]]\\nname = "{}"\\nversion = "2.0+cpu"\\nwheels = [{{url = "https://mirror.example/\''
        " '{}-2.0%2Bcpu-py3-none-any.whl\", hashes = {{sha256 = \"' + 'a' * 64 + '\"}}}}]\\n'\n"
        "open(out, 'w').write(''.join(one.format(n, n) for n in ('torch', 'filelock')))"
    )
    programs("uv", told)
    monkeypatch.setattr(lock_images, "LOCKS", tmp_path / "locks")
    monkeypatch.setattr(sys, "argv", ["lock_images.py", "--torch", "cpu=https://mirror.example/simple"])
    assert lock_images.main() == 0, capsys.readouterr().err
    (made,) = (tmp_path / "locks").iterdir()
    assert made.name == "torch-cpu.txt"
    assert "torch==2.0+cpu" in made.read_text()
    assert "filelock" not in made.read_text()
    assert "mirror" not in made.read_text()


def audit(dependencies):
    return f"print({json.dumps(json.dumps({'dependencies': dependencies}))})"


KNOWN = {"name": "one", "version": "1.0", "vulns": []}
UNKNOWN = {"name": "two", "skip_reason": "Dependency not found"}
HOLE = {"name": "one", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1"]}]}


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (None, 0, "skipped, api.txt: pip-audit is not installed"),
        ("sys.exit('ERROR: Could not connect to the vulnerability feed')", 0, "skipped, api.txt: "),
        (audit([UNKNOWN]), 0, "skipped, api.txt: the service knows none of the 1 packages"),
        (audit([KNOWN]), 0, "api.txt: 1 packages, 0 complaints"),
        (audit([KNOWN, UNKNOWN]), 1, "two: not looked up: Dependency not found"),
        (audit([HOLE]) + "; sys.exit(1)", 1, "one 1.0: CVE-1, mended in 1.1"),
        ("sys.exit('ERROR: internal')", 1, ""),
    ],
)
def test_an_audit_says_what_it_learnt(programs, answer, code, said, capsys):
    """A service that knows no package is no good news: it is told apart from one that found no hole."""
    if answer:
        programs("pip-audit", answer)
    assert audit_locks.main() == code
    assert said in capsys.readouterr().out


def test_a_bill_of_materials_for_each_image(programs, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", ["sbom.py", str(tmp_path / "bills")])
    assert sbom.main() == 0
    assert capsys.readouterr().out.startswith("skipped: ")
    programs(
        "cyclonedx-py",
        "open(sys.argv[sys.argv.index('--output-file') + 1], 'w').write(sys.stdin.read())",
    )
    assert sbom.main() == 0
    assert sbom.PARTS == OF_IMAGE
    for image, names in OF_IMAGE.items():
        text = (tmp_path / "bills" / f"{image}.cdx.json").read_text()
        assert all((LOCKS / name).read_text() in text for name in names)


def test_make_knows_the_tools():
    for target, file in (("lock", "lock_images"), ("audit", "audit_locks"), ("sbom", "sbom")):
        said = subprocess.run(
            ["make", "-n", target, "TORCH=cpu=https://mirror.example/simple"],
            cwd=ROOT, capture_output=True, text=True, timeout=20, check=True,
        ).stdout  # fmt: skip
        assert f"tools/{file}.py" in said
        assert ("--torch cpu=https://mirror.example/simple" in said) == (target == "lock")
