"""The manifests: valid by Kubernetes' own schemas, allowed by its restricted profile, true to the images."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.platform.settings import Settings
from tests.deploy.deployment import ROOT, compose, stages

FOLDER = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("base", "overlays/gpu", "overlays/keda", "overlays/keda-gpu")
#: Of KEDA and of Prometheus' operator: no schemas of theirs are to be had as a package.
FOREIGN = {"keda.sh/v1alpha1", "monitoring.coreos.com/v1"}


def built(folder: Path) -> list[dict[str, Any]]:
    """The objects of a kustomization and of those that it builds on, before images are renamed."""
    asked = yaml.safe_load((folder / "kustomization.yaml").read_text())
    found: list[dict[str, Any]] = []
    for name in asked["resources"]:
        path = (folder / name).resolve()
        found += built(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))
    return found


def key(thing: dict[str, Any]) -> tuple[str, str]:
    return thing["kind"], thing["metadata"]["name"]


def pods(things: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Pod templates by the name of what makes them."""
    return {
        t["metadata"]["name"]: t["spec"]["template"] for t in things if t["kind"] in ("Deployment", "Job")
    }


@pytest.fixture(params=OVERLAYS)
def things(request):
    return built(FOLDER / request.param)


def test_schemas(things):
    import kubernetes_validate

    things = [*things, yaml.safe_load((FOLDER / "ingress.example.yaml").read_text())]
    for thing in things:
        if thing["apiVersion"] not in FOREIGN:
            kubernetes_validate.validate(thing, "1.37", strict=True)
    assert len({key(thing) for thing in things}) == len(things)
    assert not [thing for thing in things if "namespace" in thing["metadata"]]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kustomize_builds_the_same(overlay):
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed on this machine")
    command = ["kubectl", "kustomize", str(FOLDER / overlay)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    made = list(yaml.safe_load_all(ran.stdout))
    assert sorted(map(key, made)) == sorted(map(key, built(FOLDER / overlay)))
    images = {c["image"] for pod in pods(made).values() for c in pod["spec"]["containers"]}
    assert all(image.startswith("registry.example/dfad-") for image in images)


def test_restricted_pods_without_rights(things):
    for name, pod in pods(things).items():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] == 10001, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        assert {"hostNetwork", "hostPID", "hostIPC"}.isdisjoint(spec), name
        assert all(set(volume) & {"secret", "emptyDir"} for volume in spec["volumes"]), name
        (container,) = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert "memory" in container["resources"]["limits"], name
        assert {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")} == {
            "/data", "/tmp",
        }, name  # fmt: skip


def test_commands_and_settings_are_those_of_the_images(things):
    config = next(thing for thing in things if thing["kind"] == "ConfigMap")["data"]
    secrets = set(compose(profiles="*")["secrets"])
    images = stages()
    known = {f"DFAD_{name.upper()}{end}" for name in Settings.model_fields for end in ("", "_FILE")}
    for name, pod in pods(things).items():
        (container,) = pod["spec"]["containers"]
        target = "worker" if "worker" in name else "api"
        if name != "dfad-migrate":
            assert container["args"] == images[target].command("CMD")
        else:
            assert container["args"] == compose()["services"]["migrate"]["command"]
        env = config | {variable["name"]: variable["value"] for variable in container.get("env", [])}
        assert set(env) <= known
        (volume,) = [v["secret"] for v in pod["spec"]["volumes"] if "secret" in v]
        mounted = {item["path"] for item in volume["items"]}
        assert mounted <= secrets
        files = {value for variable, value in env.items() if variable.endswith("_FILE")}
        assert files == {f"/run/secrets/dfad/{path}" for path in mounted}, name
        assert ("key_pepper" in mounted) == (name == "dfad-api")


def test_selectors_find_their_pods_and_no_others(things):
    labels = {name: pod["metadata"]["labels"] for name, pod in pods(things).items()}
    for thing in things:
        selector = (
            thing["spec"].get("selector")
            if thing["kind"] in ("Deployment", "Service", "PodDisruptionBudget")
            else None
        )
        if selector is None:
            continue
        wanted = selector.get("matchLabels", selector)
        found = [name for name, given in labels.items() if wanted.items() <= given.items()]
        assert found == [thing["metadata"]["name"]], key(thing)


def test_workers_have_time_to_save(things):
    for name, pod in pods(things).items():
        if "worker" in name:
            assert pod["spec"]["terminationGracePeriodSeconds"] > Settings().stop_grace_seconds + 20
            (container,) = pod["spec"]["containers"]
            assert container["livenessProbe"]["exec"]["command"][:3] == stages()["worker"].command(
                "HEALTHCHECK"
            )
            assert "--unless-away" in container["livenessProbe"]["exec"]["command"]


def test_one_gpu_a_worker():
    things = built(FOLDER / "overlays" / "gpu")
    (container,) = pods(things)["dfad-worker-gpu"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    for name, pod in pods(things).items():
        limits = pod["spec"]["containers"][0]["resources"]["limits"]
        assert ("nvidia.com/gpu" in limits) == (name == "dfad-worker-gpu")
    # While a new version comes, no pod may wait for a GPU that the old one holds.
    (deployment,) = [t for t in things if key(t) == ("Deployment", "dfad-worker-gpu")]
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"] == 0


def test_network():
    policies = {
        t["metadata"]["name"]: t["spec"] for t in built(FOLDER / "base") if t["kind"] == "NetworkPolicy"
    }
    assert policies["dfad"]["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": "dfad"}}
    assert policies["dfad"]["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policies["dfad"]
    (outside,) = policies["dfad-outside"]["egress"]
    assert "169.254.0.0/16" in outside["to"][0]["ipBlock"]["except"]
    assert {port["port"] for port in outside["ports"]} == {80, 443}


@pytest.mark.parametrize(("overlay", "worker"), [("keda", "dfad-worker"), ("keda-gpu", "dfad-worker-gpu")])
def test_scaling_by_the_age_of_the_queue(overlay, worker):
    things = built(FOLDER / "overlays" / overlay)
    (scaled,) = [t for t in things if t["kind"] == "ScaledObject"]
    spec = scaled["spec"]
    assert set(spec) == {
        "scaleTargetRef", "minReplicaCount", "maxReplicaCount", "pollingInterval", "advanced", "triggers",
    }  # fmt: skip
    assert spec["scaleTargetRef"] == {"kind": "Deployment", "name": worker}
    assert ("Deployment", worker) in map(key, things)
    assert spec["minReplicaCount"] <= spec["maxReplicaCount"]
    (trigger,) = spec["triggers"]
    assert (trigger["type"], trigger["metricType"]) == ("prometheus", "AverageValue")
    assert set(trigger["metadata"]) == {"serverAddress", "query", "threshold", "ignoreNullValues"}
    assert all(isinstance(value, str) for value in trigger["metadata"].values())
    told = (ROOT / "app" / "telemetry" / "jobs.py").read_text()
    figures = set(re.findall(r"dfad_\w+", trigger["metadata"]["query"]))
    assert figures == {
        "dfad_device_running_jobs", "dfad_device_queue_depth", "dfad_device_queue_age_seconds",
    }  # fmt: skip
    assert all(f'"{figure}"' in told for figure in figures)
    devices = {"dfad-worker": "auto|cpu", "dfad-worker-gpu": "auto|cuda"}[worker]
    assert set(re.findall(r'device=~"([^"]+)"', trigger["metadata"]["query"])) == {devices}
    # At least one worker stays that looks for lost jobs.
    floor = {"dfad-worker": 1} | {worker: spec["minReplicaCount"]}
    assert floor["dfad-worker"] == 1
    (monitor,) = [t for t in things if t["kind"] == "ServiceMonitor"]
    (service,) = [t for t in things if t["kind"] == "Service"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
    assert endpoint["authorization"]["credentials"] == {"name": "dfad", "key": "api_key"}
