"""One script, from the first look to the last, written once for every way of speaking to the service.

Each step gives an outcome without ids and times, so that the outcomes of two drivers can be compared. A
driver's `lacks` names the steps that it has no command for, with the reason.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

Json = dict[str, Any]
PATIENCE_SECONDS = 60.0
SMALL = {"batch_size": 16, "student_steps": 2, "generator_width": 4, "latent_dim": 8, "threads": 1}
SPEC: Json = {
    "student": {"architecture": "mlp8", "args": {"width": 8}},
    "budget": {"steps": 10},
    "training": SMALL,
    "seed": 3,
    "metadata": {"run": "first"},
}
ENDLESS = {**SPEC, "budget": {"steps": 1_000_000}, "metadata": {"run": "endless"}}
#: What a job's own answer lists; pictures of samples have a list of their own.
LISTED = ("student", "report", "manifest")


class Refused(Exception):
    """The service said no."""

    def __init__(self, status: int, code: str, pointers: Iterable[str] = ()) -> None:
        self.outcome = {"status": status, "code": code, "pointers": sorted(pointers)}
        super().__init__(str(self.outcome))


class Driver(Protocol):
    """A way of speaking to the service. Refusals are raised as Refused."""

    lacks: Mapping[str, str]

    def using(self, key: str) -> Driver: ...
    def alive(self) -> bool: ...
    def readiness(self) -> Json: ...
    def capabilities(self) -> Json: ...
    def figures(self) -> str: ...
    def validate(self, teacher: Path, spec: Json) -> Json: ...
    def create_key(self, name: str, tenant: str) -> Json: ...
    def list_keys(self) -> list[Json]: ...
    def revoke(self, key_id: str) -> None: ...
    def create_teacher(self, path: Path) -> Json: ...
    def teacher(self, teacher_id: str) -> Json: ...
    def submit(
        self, teacher: Path | str, spec: Json, *, labelled: Path | None = None, key: str | None = None
    ) -> Json: ...
    def job(self, job_id: str) -> Json: ...
    def jobs(self, *, status: str | None = None, metadata: Mapping[str, str] | None = None) -> list[Json]: ...
    def wait(self, job_id: str) -> Json: ...
    def events(self, job_id: str) -> list[str]: ...
    def cancel(self, job_id: str) -> Json: ...
    def pause(self, job_id: str) -> Json: ...
    def resume(self, job_id: str) -> Json: ...
    def rerun(self, job_id: str) -> Json: ...
    def artifacts(self, job_id: str) -> list[Json]: ...
    def student(self, job_id: str) -> bytes: ...
    def part_of_student(self, job_id: str, first: int, last: int) -> bytes: ...
    def report(self, job_id: str) -> bytes: ...
    def newest_sample(self, job_id: str) -> bytes: ...
    def series(self, job_id: str) -> list[Json]: ...
    def update(self, job_id: str, metadata: Mapping[str, str]) -> Json: ...
    def evaluate(self, job_id: str, report: Json) -> Json: ...
    def measure(self, job_id: str, labelled: Path) -> Json: ...
    def delete(self, job_id: str) -> None: ...


@dataclass
class World:
    """What the steps share: files, the driver with each key, and what was made on the way."""

    operator: Driver
    stranger: Driver
    tenant: str
    teacher: Path
    labelled: Path
    own: Any = None
    made: dict[str, str] = field(default_factory=dict)


def refusal(ask: Callable[[], Any]) -> Json:
    """How the service says no to that."""
    try:
        answer = ask()
    except Refused as refused:
        return dict(refused.outcome)
    raise AssertionError(f"not refused: {answer}")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _until(world: World, name: str, *statuses: str) -> str:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (status := str(world.own.job(world.made[name])["status"])) not in statuses:
        assert time.monotonic() < deadline, f"{name} stays {status}"
        time.sleep(0.1)
    return status


def _health(world: World) -> Any:
    return world.operator.alive(), world.operator.readiness()


def _key(world: World) -> Any:
    made = world.operator.create_key("same script", world.tenant)
    world.made["key"], world.own = made["id"], world.operator.using(made["key"])
    listed = [key for key in world.operator.list_keys() if key["tenant_id"] == world.tenant]
    return made["scopes"], [(key["name"], key["revoked_at"], "key" in key) for key in listed]


def _no_key(world: World) -> Any:
    return refusal(lambda: world.operator.using("wrong").jobs())


def _capabilities(world: World) -> Any:
    found = world.own.capabilities()
    return sorted(found), sorted(method["name"] for method in found["methods"]), found["formats"]


def _bad_input(world: World) -> Any:
    wrong = {**SPEC, "student": {"architecture": "nonsense"}, "method": {"name": "nonsense"}}
    empty = world.labelled.with_name("empty.safetensors")
    empty.touch()
    return (
        refusal(lambda: world.own.submit(world.teacher, wrong)),
        refusal(lambda: world.own.submit(world.teacher, {**SPEC, "budget": {"steps": 0}})),
        refusal(lambda: world.own.submit(empty, SPEC)),
        refusal(lambda: world.own.job("job_1")),
    )


def _validate(world: World) -> Any:
    found = world.own.validate(
        world.teacher, {**SPEC, "teacher": {"architecture": "mlp8", "args": {"width": 32}}}
    )
    spec = found["resolved_spec"]
    wrong = refusal(lambda: world.own.validate(world.teacher, {**SPEC, "seed": -1}))
    return found["valid"], spec["budget"]["steps"], spec["method"]["name"], sorted(found["estimate"]), wrong


def _teacher(world: World) -> Any:
    made = world.own.create_teacher(world.teacher)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := world.own.teacher(made["id"]))["status"] == "inspecting":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    seen = found["inspection"]
    return found["status"], found["sha256"], seen["architecture"], seen["parameters"], seen["num_classes"]


def _submit(world: World) -> Any:
    job = world.own.submit(world.teacher, SPEC, labelled=world.labelled)
    world.made["first"] = job["id"]
    return job["object"], job["terminal"], job["metadata"], job["teacher"]["filename"]


def _follow(world: World) -> Any:
    kinds = world.own.events(world.made["first"])
    assert kinds[-1] == "job.succeeded"
    return list(dict.fromkeys(kinds))  # how often each comes is a matter of the clock


def _result(world: World) -> Any:
    job = world.own.wait(world.made["first"])
    result = job["result"]
    return job["status"], result["student"]["parameters"], result["accuracy"], job["progress"]["percent"]


def _artifacts(world: World) -> Any:
    listed = world.own.artifacts(world.made["first"])
    return sorted((a["kind"], a["partial"], a["filename"]) for a in listed if a["kind"] in LISTED)


def _student(world: World) -> Any:
    content = world.own.student(world.made["first"])
    listed = world.own.artifacts(world.made["first"])
    assert _sha256(content) in [a["sha256"] for a in listed if a["kind"] == "student"]
    return len(content), _sha256(content)


def _range(world: World) -> Any:
    part = world.own.part_of_student(world.made["first"], 5, 104)
    past = refusal(lambda: world.own.part_of_student(world.made["first"], 10**9, 10**9 + 1))
    return len(part), _sha256(part), past


def _report(world: World) -> Any:
    text = world.own.report(world.made["first"]).decode()
    return text.lstrip()[:15].lower(), "60 labelled images" in text


def _samples(world: World) -> Any:
    return _sha256(world.own.newest_sample(world.made["first"]))


def _series(world: World) -> Any:
    rows = world.own.series(world.made["first"])
    return sorted(rows[-1]), [row["step"] for row in rows][-1]


def _list(world: World) -> Any:
    found = world.own.jobs(status="succeeded")
    return [job["metadata"] for job in found], world.own.jobs(status="failed")


def _list_by_metadata(world: World) -> Any:
    found = world.own.jobs(metadata={"run": "first"})
    return [job["id"] == world.made["first"] for job in found], world.own.jobs(metadata={"run": "none"})


def _twice(world: World) -> Any:
    """The key of a request that is repeated: nothing new is made of it."""
    made = [world.own.submit(world.teacher, SPEC, key="once")["id"] for _ in range(2)]
    world.own.cancel(made[0])
    other = refusal(lambda: world.own.submit(world.teacher, {**SPEC, "seed": 4}, key="once"))
    return len(set(made)), other


def _rerun(world: World) -> Any:
    job = world.own.rerun(world.made["first"])
    world.made["second"] = job["id"]
    ended = world.own.wait(job["id"])
    same = _sha256(world.own.student(job["id"])) == _sha256(world.own.student(world.made["first"]))
    return job["id"] != world.made["first"], ended["status"], ended["metadata"], same


def _steer(world: World) -> Any:
    """A job for a teacher that is there already: paused, resumed, cancelled, and then no more."""
    known = world.own.job(world.made["first"])["teacher"]["id"]
    made = world.made["endless"] = world.own.submit(known, ENDLESS)["id"]
    too_soon = refusal(lambda: world.own.student(made))
    _until(world, "endless", "running")
    asked = world.own.pause(made)["status"] in ("pausing", "paused")
    paused = _until(world, "endless", "paused")
    resumed = world.own.resume(made)["status"] in ("queued", "running")
    _until(world, "endless", "running")
    world.own.cancel(made)
    cancelled = _until(world, "endless", "cancelled")
    again = world.own.cancel(made)["status"]
    return too_soon, asked, paused, resumed, cancelled, again, refusal(lambda: world.own.pause(made))


def _stranger(world: World) -> Any:
    job = world.made["first"]
    asked = (world.stranger.job, world.stranger.cancel, world.stranger.rerun, world.stranger.student)
    return [refusal(lambda ask=ask: ask(job)) for ask in asked], world.stranger.jobs()


def _remember(world: World) -> Any:
    changed = world.own.update(world.made["second"], {"run": "second"})["metadata"]
    told = {"data": "at home", "teacher": 0.5, "student": 0.25}
    job = world.own.evaluate(world.made["second"], told)
    kept = [{name: one[name] for name in told} for one in job["result"]["evaluations"]]
    return changed, kept


def _measure(world: World) -> Any:
    """Accuracy after the end; asked for twice, it is measured once."""
    for _ in range(2):
        asked = world.own.measure(world.made["second"], world.labelled)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (job := world.own.job(world.made["second"]))["measurement"]["status"] == "waiting":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    told = {name: job["measurement"][name] for name in ("status", "sha256", "error")}
    return asked["measurement"]["filename"], told, job["result"]["accuracy"]


def _delete(world: World) -> Any:
    world.own.delete(world.made["second"])
    return refusal(lambda: world.own.job(world.made["second"]))


def _figures(world: World) -> Any:
    lines = world.operator.figures().splitlines()
    names = ("dfad_jobs{", "dfad_workers ", "dfad_queue_age_seconds ")
    found = [any(line.startswith(name) for line in lines) for name in names]
    return found, refusal(world.own.figures)


def _revoke(world: World) -> Any:
    world.operator.revoke(world.made["key"])
    listed = [key for key in world.operator.list_keys() if key["id"] == world.made["key"]]
    return [key["revoked_at"] is not None for key in listed], refusal(world.own.jobs)


STEPS: Mapping[str, Callable[[World], Any]] = {
    "health": _health,
    "key": _key,
    "no key": _no_key,
    "capabilities": _capabilities,
    "bad input": _bad_input,
    "validate": _validate,
    "teacher": _teacher,
    "submit": _submit,
    "follow": _follow,
    "result": _result,
    "artifacts": _artifacts,
    "student": _student,
    "range": _range,
    "report": _report,
    "samples": _samples,
    "series": _series,
    "list": _list,
    "list by metadata": _list_by_metadata,
    "twice": _twice,
    "rerun": _rerun,
    "steer": _steer,
    "stranger": _stranger,
    "remember": _remember,
    "measure": _measure,
    "delete": _delete,
    "figures": _figures,
    "revoke": _revoke,
}


def play(world: World) -> dict[str, Any]:
    """The outcomes of all steps that the driver has a command for, by name."""
    return {name: step(world) for name, step in STEPS.items() if name not in world.operator.lacks}
