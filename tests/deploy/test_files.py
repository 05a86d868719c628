"""Dockerfile, Compose files and scripts: their own tools read them, and nothing that matters is forgotten."""

import os
import re
import stat
import subprocess

import pytest
import yaml

from tests.deploy.deployment import ROOT, compose, stages, tool

YAML = [*sorted(ROOT.glob("docker-compose*.yml")), *sorted((ROOT / "deploy").rglob("*.y*ml"))]
GPU = ("docker-compose.yml", "docker-compose.gpu.yml")
OURS = {"api", "worker", "migrate"}


@pytest.mark.parametrize(
    "command",
    [
        ("hadolint", "Dockerfile"),
        ("shellcheck", "deploy/make-secrets.sh", ".ci/run"),
        ("yamllint", "--strict", "-c", ".yamllint.yml", *map(str, YAML)),
    ],
    ids=lambda command: command[0],
)
def test_linters_find_nothing(command):
    ran = subprocess.run(
        [tool(command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stdout + ran.stderr


@pytest.mark.parametrize("files", [("docker-compose.yml",), GPU])
@pytest.mark.parametrize("profiles", ["", "rustfs", "monitoring", "rustfs,monitoring,gpus-4"])
def test_compose_reads_it(files, profiles):
    services = compose(*files, profiles=profiles)["services"]
    assert services.keys() >= {"api", "worker", "migrate", "postgres", "redis"}
    assert ("rustfs" in services) == ("rustfs" in profiles)
    assert ("grafana" in services) == ("monitoring" in profiles)


def test_what_ends_is_awaited_by_what_runs():
    """Otherwise `up --wait` takes its end for a failure."""
    for profiles in ("", "rustfs"):
        services = compose(profiles=profiles)["services"]
        once = {n for n, service in services.items() if service.get("restart") != "unless-stopped"}
        awaited = {
            name
            for service in services.values()
            if service.get("restart") == "unless-stopped"
            for name, about in service.get("depends_on", {}).items()
            if about["condition"] == "service_completed_successfully"
        }
        assert once == awaited & set(services)
        for service in services.values():  # the others can be waited for
            for name, about in service.get("depends_on", {}).items():
                if about["condition"] == "service_healthy":
                    assert "healthcheck" in services[name]


def test_no_service_has_more_than_it_needs():
    read = compose(*GPU, profiles="*")
    for name, service in read["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service, name
        assert service["pids_limit"] > 0, name
        if service["restart"] == "unless-stopped":  # what runs on says how it is
            image = stages()[service["build"]["target"]] if "build" in service else None
            assert "healthcheck" in service or (image and "HEALTHCHECK" in image.said), name
        if "worker" not in name:  # a worker's bound is the operator's: it is of the size of the jobs
            assert int(service["mem_limit"]) >= 2**26, name
        assert not any(port["host_ip"] != "127.0.0.1" for port in service.get("ports", [])), name
        assert service["restart"] in ("unless-stopped", "on-failure:5"), name
        assert "cap_add" not in service, name
        user = service.get("user") or stages()[service["build"]["target"]].said["USER"]
        assert user.partition(":")[0] not in ("", "0", "root"), name
    assert read["networks"]["inside"]["internal"] is True
    for name in ("postgres", "redis", "rustfs", "migrate", "prometheus"):
        assert list(read["services"][name]["networks"]) == ["inside"]


def test_secrets_are_files_and_each_goes_where_it_is_needed():
    read = compose(profiles="*")
    given = {
        name: {s["source"] for s in service.get("secrets", [])} for name, service in read["services"].items()
    }
    assert "key_pepper" not in given["worker"] | given["migrate"]
    assert "api_key" not in given["worker"] | given["migrate"]
    for name, service in read["services"].items():
        for key, value in (service.get("environment") or {}).items():
            secret = re.search(r"PASSWORD|SECRET|PEPPER|API_KEY", key)
            assert not secret or str(value).startswith("/run/secrets/"), f"{name}: {key}"
            if str(value).startswith("/run/secrets/"):
                assert value.removeprefix("/run/secrets/") in given[name], f"{name}: {key}"
    assert set().union(*given.values()) == set(read["secrets"])


def test_workers_scale(tmp_path):
    worker = compose()["services"]["worker"]
    assert "container_name" not in worker
    assert "ports" not in worker
    assert {volume["type"]: volume.get("source") for volume in worker["volumes"]} == {"volume": None}
    # Longer than a job is given to save itself.
    assert int(worker["stop_grace_period"].removesuffix("s")) > 20
    bounded = compose(DFAD_WORKER_CPUS="2.5", DFAD_WORKER_MEMORY="6g")["services"]["worker"]
    assert (bounded["cpus"], bounded["mem_limit"]) == (2.5, str(6 * 2**30))
    assert "cpus" not in worker


def test_a_gpu_for_each_worker():
    services = compose(*GPU, profiles="gpus-4")["services"]
    workers = {name: service for name, service in services.items() if name.startswith("worker")}
    asked = [w["deploy"]["resources"]["reservations"]["devices"] for w in workers.values()]
    assert all(len(devices) == 1 and devices[0]["capabilities"] == ["gpu"] for devices in asked)
    assert sorted(devices[0]["device_ids"][0] for devices in asked) == ["0", "1", "2", "3"]
    assert {worker["build"]["args"]["DEVICE"] for worker in workers.values()} == {"cuda"}
    assert "deploy" not in services["api"]
    plain = compose()["services"]["worker"]
    assert workers["worker-gpu-3"]["environment"] == plain["environment"]
    assert workers["worker-gpu-3"]["secrets"] == plain["secrets"]


def test_the_object_store_is_chosen_by_variables():
    chosen = {
        "DFAD_ARTIFACT_STORE": "s3",
        "DFAD_S3_URL": "s3://dfad",
        "DFAD_S3_ENDPOINT": "http://rustfs:9000",
    }
    services = compose(profiles="rustfs", **chosen)["services"]
    for name in ("api", "worker", "migrate"):
        assert chosen.items() <= services[name]["environment"].items()
    key = services["rustfs"]["environment"]["RUSTFS_ACCESS_KEY"]
    assert services["worker"]["environment"]["DFAD_S3_ACCESS_KEY_ID"] == key


def test_images():
    read = stages()
    text = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.12\.\d+-slim-\w+@sha256:\w{64}$", text, re.MULTILINE)
    for name in ("api", "worker"):
        stage = read[name]
        assert stage.base == "base"
        assert stage.said["USER"] == "10001:10001"
        assert stage.said["STOPSIGNAL"] == "SIGTERM"
        assert stage.command("ENTRYPOINT") == ["tini", "--"]
        # Nothing is installed where it would stay; dependencies lie below what changes more often.
        assert not [line for line in stage.lines if line.startswith("RUN")]
        copied = [line for line in stage.lines if line.startswith("COPY")]
        assert [line.split()[1] for line in copied] == [f"--from={name}-dependencies", "--from=package"]
    for stage in read.values():
        for line in stage.lines:
            for command in re.findall(r"pip install [^&;]*", line):
                if "-r " in command:  # from an index: by hash, and without running what is downloaded
                    assert "--require-hashes --only-binary :all: " in command
                else:  # this package, with a builder that is there already
                    assert command.startswith(
                        "pip install --no-cache-dir --no-build-isolation --no-deps --target "
                    )


def test_no_registry_is_named():
    """Whoever builds has their own: pip and npm know where to look, or are told from outside."""
    parts = (("py", "pi.org"), ("python", "hosted"), ("download.", "pytorch"), ("registry.", "npmjs"))
    hosts = ["".join(pair) for pair in parts]
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    files = [ROOT / name.decode() for name in tracked.split(b"\0") if name]
    assert ROOT / "Dockerfile" in files
    named = {
        (str(file.relative_to(ROOT)), host)
        for file in files
        if file.is_file()
        for host in hosts
        if host.encode() in file.read_bytes().lower()
    }
    assert named == set()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("index", ["", "https://mirror.example/torch/simple"])
@pytest.mark.parametrize("locked", [True, False])
def test_torch_comes_from_where_it_is_said(device, index, locked, tmp_path):
    """The image's own commands, with a program in the place of pip that tells its arguments."""
    stage = stages()["worker-dependencies"]
    declared = [line for line in stage.lines if line.startswith("ARG TORCH_")]
    assert declared == ["ARG TORCH_CPU_INDEX", "ARG TORCH_CUDA_INDEX"], "without a default"
    (tmp_path / "pip").write_text('#!/bin/sh\nprintf "<%s>" "$@"\n')
    (tmp_path / "pip").chmod(0o755)
    (tmp_path / "lock").mkdir()
    for name in ("torch.txt", "worker.txt", *([f"torch-{device}.txt"] if locked else [])):
        (tmp_path / "lock" / name).touch()
    given = {"TORCH_CPU_INDEX": "", "TORCH_CUDA_INDEX": "", f"TORCH_{device.upper()}_INDEX": index}
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "DEVICE": device, **given}
    commands = re.sub(r"^(--\S+ +)+", "", stage.said["RUN"])
    ran = subprocess.run(
        ["sh", "-euc", commands],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    args = compose(DFAD_TORCH_CPU_INDEX=index)["services"]["worker"]["build"]["args"]
    assert args["TORCH_CPU_INDEX"] == index
    if index and not locked:  # its builds have hashes of their own, and without them nothing is installed
        assert ran.returncode == 1
        assert f"make lock TORCH={device}={index}" in ran.stderr
        assert ran.stdout == ""
        return
    assert ran.returncode == 0, ran.stderr
    hashed = "<--require-hashes><--only-binary><:all:>"
    where = f"<--index-url><{index}><-r><lock/torch-{device}.txt>" if index else "<-r><lock/torch.txt>"
    others = f"<install>{hashed}<-r><lock/worker.txt><check>"
    assert ran.stdout == f"<install><--no-deps>{hashed}{where}{others}"


def test_only_what_is_built_is_sent():
    sent = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = {
        word.rstrip("/")
        for stage in stages().values()
        for line in stage.lines
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    assert {line[1:] for line in sent} == copied
    assert "\n*\n" in (ROOT / ".dockerignore").read_text()
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"/secrets/", "dfad.env", ".env"} <= set(ignored)


def test_secrets_are_made_once(tmp_path):
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "api_key").write_text("mine")
    for _ in range(2):
        making = ["sh", str(ROOT / "deploy" / "make-secrets.sh"), str(folder)]
        subprocess.run(making, check=True, capture_output=True, timeout=20)
        made = {file.name: file.read_text() for file in folder.iterdir()}
        assert set(made) == set(compose(profiles="*")["secrets"])
        assert made["api_key"] == "mine"
        others = {value for name, value in made.items() if name != "api_key"}
        assert len(others) == len(made) - 1
        assert all(re.fullmatch("[0-9a-f]{64}", value) for value in others)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "key_pepper").stat().st_mode) == 0o444


def test_a_secret_is_never_empty(tmp_path):
    """Without random bytes nothing is made: Redis would take an empty one for no password."""
    (tmp_path / "od").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "od").chmod(0o755)
    folder = tmp_path / "secrets"
    making = ["sh", str(ROOT / "deploy" / "make-secrets.sh"), str(folder)]
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    made = subprocess.run(making, env=env, check=False, capture_output=True, text=True, timeout=20)
    assert (made.returncode, "no random bytes" in made.stderr) == (1, True)
    assert not (folder / "api_key").exists()


def test_what_prometheus_and_grafana_read_is_there():
    services = compose(profiles="monitoring")["services"]
    mounted = {
        m["target"]: m["source"] for name in ("prometheus", "grafana") for m in services[name]["volumes"]
    }
    for target, source in mounted.items():
        assert not source.startswith("/") or os.path.isdir(source), target
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    (dfad,) = [job for job in config["scrape_configs"] if job["job_name"] == "dfad"]
    assert dfad["authorization"]["credentials_file"] == "/run/secrets/api_key"
    assert dfad["dns_sd_configs"][0]["names"] == ["api"]
    assert "api_key" in {secret["source"] for secret in services["prometheus"]["secrets"]}
    boards = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/dfad.yml").read_text())
    assert boards["providers"][0]["options"]["path"] in mounted
