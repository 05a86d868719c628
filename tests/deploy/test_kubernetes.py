"""The manifests: valid by Kubernetes' own schemas, allowed by its restricted profile, true to the images."""

import json
import re
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy.engine import make_url

from app.jobs import lifecycle
from app.models import Job, StoredQuota, Teacher, Webhook, WebhookDelivery
from app.models.job_states import Status
from app.platform.db import database_now, get_engine, session_scope
from app.platform.settings import Settings, get_settings
from dfad_core.contract.job_result import JobResult
from dfad_core.contract.serialization import from_json
from tests.deploy.deployment import ROOT, compose, stages

FOLDER = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("base", "overlays/gpu", "overlays/keda", "overlays/keda-gpu")
#: Of KEDA and of Prometheus' operator: no schemas of theirs are to be had as a package.
FOREIGN = {"keda.sh/v1alpha1", "monitoring.coreos.com/v1"}
#: Outside of any kustomization, to be copied.
EXAMPLES = ("ingress.example.yaml", "move-bytes.example.yaml")


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
    makers = {
        t["metadata"]["name"]: t["spec"] for t in things if t["kind"] in ("Deployment", "Job", "ScaledJob")
    }
    return {name: spec.get("jobTargetRef", spec)["template"] for name, spec in makers.items()}


def example(name: str) -> list[dict[str, Any]]:
    """The objects of an example."""
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def environment(things: list[dict[str, Any]], pod: dict[str, Any]) -> dict[str, str]:
    """What the pod's program is given."""
    config = next(thing for thing in things if thing["kind"] == "ConfigMap")["data"]
    (container,) = pod["spec"]["containers"]
    return config | {variable["name"]: variable["value"] for variable in container.get("env", [])}


@pytest.fixture(params=OVERLAYS)
def things(request):
    return built(FOLDER / request.param)


def test_schemas(things):
    import kubernetes_validate

    things = [*things, *(thing for name in EXAMPLES for thing in example(name))]
    for thing in things:
        if thing["apiVersion"] not in FOREIGN:
            kubernetes_validate.validate(thing, "1.37", strict=True)
        elif thing["kind"] == "ScaledJob":
            job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "worker"}}
            job["spec"] = thing["spec"]["jobTargetRef"]
            kubernetes_validate.validate(job, "1.37", strict=True)
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
    for name, pod in pods([*things, *example("move-bytes.example.yaml")]).items():
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
    things = [*things, *example("move-bytes.example.yaml")]
    secrets = set(compose(profiles="*")["secrets"])
    images = stages()
    known = {f"DFAD_{name.upper()}{end}" for name in Settings.model_fields for end in ("", "_FILE")}
    for name, pod in pods(things).items():
        (container,) = pod["spec"]["containers"]
        target = "worker" if "worker" in name else "api"
        if name == "dfad-migrate":
            assert container["args"] == compose()["services"]["migrate"]["command"]
        elif name == "dfad-move-bytes":
            assert container["args"][:4] == ["python", "-m", "app.storage", "move"]
        else:
            assert container["args"] == images[target].command("CMD")
        env = environment(things, pod)
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
            # Until its runner is killed, and then what was saved is stored, and threads are waited for.
            grace = float(environment(things, pod)["DFAD_STOP_GRACE_SECONDS"])
            assert pod["spec"]["terminationGracePeriodSeconds"] >= grace + 30
            (container,) = pod["spec"]["containers"]
            assert container["livenessProbe"]["exec"]["command"][:3] == stages()["worker"].command(
                "HEALTHCHECK"
            )
            assert "--unless-away" in container["livenessProbe"]["exec"]["command"]


@pytest.mark.parametrize("overlay", ["gpu", "keda-gpu"])
def test_one_gpu_a_worker(overlay):
    things = built(FOLDER / "overlays" / overlay)
    for name, pod in pods(things).items():
        limits = pod["spec"]["containers"][0]["resources"]["limits"]
        assert limits.get("nvidia.com/gpu") == (1 if name == "dfad-worker-gpu" else None)
        tolerated = [entry["key"] for entry in pod["spec"].get("tolerations", [])]
        assert tolerated == (["nvidia.com/gpu"] if name == "dfad-worker-gpu" else [])
    # While a new version comes, no pod may wait for a GPU that the old one holds.
    for deployment in [t for t in things if key(t) == ("Deployment", "dfad-worker-gpu")]:
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
    (reaches,) = policies["dfad-outside"]["podSelector"]["matchExpressions"]
    made = [*built(FOLDER / "overlays" / "keda-gpu"), *example("move-bytes.example.yaml")]
    components = {pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in pods(made).values()}
    assert set(reaches["values"]) == components - {"migrate"}


def scaled_jobs(overlay: str) -> dict[str, dict[str, Any]]:
    things = built(FOLDER / "overlays" / overlay)
    return {t["metadata"]["name"]: t["spec"] for t in things if t["kind"] == "ScaledJob"}


@pytest.mark.parametrize(
    ("overlay", "devices"),
    [
        ("keda", {"dfad-worker": ["auto", "cpu"]}),
        ("keda-gpu", {"dfad-worker": ["cpu"], "dfad-worker-gpu": ["auto", "cuda"]}),
    ],
)
def test_workers_that_come_by_need(overlay, devices):
    """From none, for the rows of their devices; each ends by itself, and nothing ends a busy one."""
    things = built(FOLDER / "overlays" / overlay)
    scaled = scaled_jobs(overlay)
    assert scaled.keys() == devices.keys()
    assert not [
        key(t) for t in things if t["kind"] in ("Deployment", "ScaledObject") and "worker" in key(t)[1]
    ]
    (auth,) = [t for t in things if t["kind"] == "TriggerAuthentication"]
    assert auth["spec"] == {
        "secretTargetRef": [{"parameter": "password", "name": "dfad", "key": "database_password"}]
    }
    for name, spec in scaled.items():
        assert set(spec) == {
            "pollingInterval", "minReplicaCount", "maxReplicaCount", "successfulJobsHistoryLimit",
            "failedJobsHistoryLimit", "rollout", "scalingStrategy", "triggers", "jobTargetRef",
        }  # fmt: skip
        assert spec["minReplicaCount"] == 0
        # What is queried has the jobs that run in it, and this strategy takes pods that run off it.
        assert spec["scalingStrategy"] == {"strategy": "default"}
        assert spec["rollout"] == {"strategy": "gradual"}
        job = spec["jobTargetRef"]
        assert (job["backoffLimit"], job["template"]["spec"]["restartPolicy"]) == (0, "Never")
        assert "activeDeadlineSeconds" not in job  # a job has its own, which the worker keeps
        env = environment(things, job["template"])
        assert json.loads(env["DFAD_WORKER_DEVICES"]) == devices[name]
        idle = float(env["DFAD_WORKER_IDLE_SECONDS"])
        assert Settings(worker_idle_seconds=idle)
        assert idle > job["template"]["spec"]["terminationGracePeriodSeconds"]
        notes = job["template"]["metadata"]["annotations"]
        assert notes["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
        (trigger,) = spec["triggers"]
        assert (trigger["type"], trigger["authenticationRef"]) == ("postgresql", {"name": "dfad-database"})
        assert set(trigger["metadata"]) == {
            "host", "port", "dbName", "userName", "sslmode", "targetQueryValue", "query",
        }  # fmt: skip
        assert all(isinstance(value, str) for value in trigger["metadata"].values())
        named = re.findall(r"device IN \((.*?)\)", trigger["metadata"]["query"])
        assert named == [", ".join(f"'{device}'" for device in devices[name])] * 2
    url = make_url(environment(things, pods(things)["dfad-api"])["DFAD_DATABASE_URL"])
    metadata = trigger["metadata"]
    assert (url.host, url.database, url.username) == tuple(
        metadata[n] for n in ("host", "dbName", "userName")
    )


@pytest.fixture
def scaler(postgres, home, monkeypatch):
    """A role of its own for KEDA, made as the manifest says."""
    monkeypatch.setenv("DFAD_DATABASE_URL", postgres)
    get_settings.cache_clear()
    text = (FOLDER / "overlays" / "keda" / "database.yaml").read_text()
    with get_engine().begin() as connection:
        for statement in re.findall(r"^#   (.*);$", text, re.MULTILINE):
            connection.exec_driver_sql(statement)
    yield
    with get_engine().begin() as connection:
        connection.exec_driver_sql("DROP OWNED BY dfad_scaler")
        connection.exec_driver_sql("DROP ROLE dfad_scaler")


def asked(overlay: str) -> dict[str, int]:
    """What each query of an overlay answers."""
    answers = {}
    with get_engine().connect() as connection:
        connection.exec_driver_sql("SET LOCAL ROLE dfad_scaler")
        for name, spec in scaled_jobs(overlay).items():
            ((number,),) = connection.exec_driver_sql(spec["triggers"][0]["metadata"]["query"]).all()
            answers[name] = number
    return answers


@pytest.mark.services
def test_queries_count_rows_that_need_a_worker(scaler, stored_jobs):
    assert asked("keda") == {"dfad-worker": 0}
    assert asked("keda-gpu") == {"dfad-worker": 0, "dfad-worker-gpu": 0}
    teacher = stored_jobs.teacher(inspect_in=timedelta(hours=1))
    ids = [stored_jobs.submit(teacher, device=device) for device in ("auto", "auto", "cpu", "cuda")]
    over, paused, later = (stored_jobs.submit(teacher) for _ in range(3))
    with session_scope() as session:
        for job_id, device in zip(ids, ("auto", "auto", "cpu", "cuda"), strict=True):
            session.get_one(Job, job_id).device = device
        lifecycle.succeed(session, lifecycle.claim(session, over, "w"), from_json(JobResult, {}))
        lifecycle.request_pause(session, paused, "local")
        session.get_one(Job, later).run_after = database_now(session) + timedelta(hours=1)
    assert asked("keda") == {"dfad-worker": 3}
    assert asked("keda-gpu") == {"dfad-worker": 1, "dfad-worker-gpu": 3}
    with session_scope() as session:  # what runs counts as well, also while it is asked to end
        lifecycle.claim(session, ids[0], "w")
        lifecycle.claim(session, ids[3], "w")
        lifecycle.request_cancel(session, ids[3], "local")
    assert asked("keda") == {"dfad-worker": 3}
    assert asked("keda-gpu") == {"dfad-worker": 1, "dfad-worker-gpu": 3}
    with session_scope() as session:  # two run: there is no room for a third
        everybody = StoredQuota(tenant_id="*", running_jobs=2, updated_at=database_now(session))
        session.add(everybody)
    assert asked("keda") == {"dfad-worker": 1}
    assert asked("keda-gpu") == {"dfad-worker": 0, "dfad-worker-gpu": 2}
    with session_scope() as session:
        session.add(StoredQuota(tenant_id="local", running_jobs=3, updated_at=database_now(session)))
    assert asked("keda") == {"dfad-worker": 2}


@pytest.mark.services
def test_queries_see_what_is_no_job(scaler, stored_jobs):
    """With no job at all one worker comes for what else is due, and none for what nobody can do."""
    teacher = stored_jobs.teacher()
    assert asked("keda-gpu") == {"dfad-worker": 1, "dfad-worker-gpu": 0}
    with session_scope() as session:
        session.get_one(Teacher, teacher).status = "ready"
    assert asked("keda") == {"dfad-worker": 0}
    with session_scope() as session:
        now = database_now(session)
        about = {"tenant_id": "local", "created_at": now}
        hook = {"url": "https://example.com/", "events": [], "secret": "s", "enabled": False}
        session.add(Webhook(id="whk_1", healthy_at=now, **hook, **about))
        message = {"event": "job.succeeded", "body": "", "status": "pending", "next_attempt_at": now}
        session.add(WebhookDelivery(id="whd_1", webhook_id="whk_1", **message, **about))
    assert asked("keda") == {"dfad-worker": 0}
    with session_scope() as session:
        session.get_one(Webhook, "whk_1").enabled = True
    assert asked("keda") == {"dfad-worker": 1}
    with session_scope() as session:
        session.get_one(WebhookDelivery, "whd_1").status = "delivered"
        job_id = stored_jobs.submit(teacher)
    with session_scope() as session:
        lifecycle.request_cancel(session, job_id, "local")
        assert session.get_one(Job, job_id).status == Status.CANCELLED
    assert asked("keda") == {"dfad-worker": 0}
    for column in ("measure_after", "expires_at"):
        with session_scope() as session:
            setattr(session.get_one(Job, job_id), column, database_now(session))
        assert asked("keda") == {"dfad-worker": 1}
        with session_scope() as session:
            setattr(session.get_one(Job, job_id), column, None)


def test_prometheus_asks_every_server():
    things = [*built(FOLDER / "base"), *built(FOLDER / "metrics")]
    (monitor,) = [t for t in things if t["kind"] == "ServiceMonitor"]
    (service,) = [t for t in things if t["kind"] == "Service"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
    assert endpoint["authorization"]["credentials"] == {"name": "dfad", "key": "api_key"}
