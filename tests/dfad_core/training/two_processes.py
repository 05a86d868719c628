"""Run by torchrun in `test_distributed.py`: trains a tiny student in two processes and writes the results."""

import json
import sys
from pathlib import Path
from unittest import mock

import torch

from dfad_core.contract.errors import DivergedError, Stopped
from dfad_core.hooks import Hooks
from dfad_core.networks.pixel_range import PixelRange
from dfad_core.training import run_state, runtime
from dfad_core.training.distributed import Group, from_environment
from dfad_core.training.finite_guard import FiniteGuard
from dfad_core.training.run_state import RunState
from dfad_core.training.trainer import distill, student_step
from tests.dfad_core.conftest import TinyGenerator, classifier, config


class Keeper(Hooks):
    """Keeps the last checkpoint, and stops after some steps."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after, self.steps, self.saved = stop_after, 0, b""

    def checkpoint(self, step: int, data: bytes) -> None:
        self.saved = data

    def should_stop(self) -> str | None:
        self.steps += 1
        return "enough" if self.steps == self.stop_after else None


def _one_update(batch_size: int) -> list[list[float]]:
    """The student after one update on this process's share of a fixed batch; no BN, so shares add up."""
    settings = config(method={"name": "dfad"}, student_optimizer="sgd", batch_size=batch_size)
    session = RunState(
        classifier(8, bn=False),
        classifier(4, bn=False, seed=1),
        TinyGenerator((1, 8, 8), 7),
        settings,
        runtime.resolve(settings),
    )
    session.clock.start()
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        session.noise = lambda: torch.randn(16, 8)  # type: ignore[method-assign]
        whole = session.new_batch()
    part = list(whole.split(session.group.size))[session.group.rank]
    student_step(session, part, session.mixings(part))
    return [p.detach().flatten().tolist() for p in session.student.parameters()]


def _played(method: str, hooks: Hooks, resume: bytes | None = None, steps: int = 4) -> list[list[float]]:
    settings = config(method={"name": method}, steps=steps, student_steps=2, inner_steps=2)
    networks = classifier(8), classifier(4, seed=1)
    result = distill(*networks, settings, hooks, resume=resume, generator=TinyGenerator((1, 8, 8), 7))
    return [p.detach().flatten().tolist() for p in result.student.parameters()]


def _loss_of_one(deferred: bool) -> dict[str, bool]:
    """What an update does in each process whose loss is NaN in the second one alone."""
    settings = config(method={"name": "dfq"})
    run = RunState(
        classifier(8), classifier(4, seed=1), TinyGenerator((1, 8, 8), 7), settings, runtime.resolve(settings)
    )
    run.clock.start()
    run.guard = FiniteGuard(torch.device("cpu"), group=run.group, deferred=deferred)
    batch = run.new_batch()
    if run.group.rank == 1:
        batch.teacher_logits_BK[0, 0] = float("nan")
    before = [p.detach().clone() for p in run.student.parameters()]
    raised = False
    try:
        student_step(run, batch, run.mixings(batch))
        run.guard.raise_if_set()
    except DivergedError:
        raised = True
    after = [p.detach() for p in run.student.parameters()]
    return {"raised": raised, "same": all(torch.equal(a, b) for a, b in zip(before, after, strict=True))}


def _range(group: Group) -> list[float]:
    """The mean that a run uses where every process estimates another one: 1 more than its rank."""
    estimate = PixelRange((group.rank + 1.0,), (1.0,))
    settings = config()
    with mock.patch.object(run_state, "pixel_range", return_value=estimate):
        run = RunState(classifier(8), classifier(4), None, settings, runtime.resolve(settings))
    return list(run.pixels.mean)


def main(folder: Path) -> None:
    """One JSON file a process."""
    torch.set_num_threads(1)
    with from_environment() as group:
        seen = {"rank": group.rank, "size": group.size, "update": _one_update(16)}
        for method in ("auto", "fast", "best"):
            seen[method] = _played(method, Keeper())
        settings = config()
        session = RunState(classifier(8), classifier(4), None, settings, runtime.resolve(settings))
        seen["range"] = _range(group)
        seen["noise"], seen["images"] = session.noise().flatten().tolist(), session.batch_size
        keeper = Keeper(stop_after=2)
        try:
            _played("auto", keeper)
        except Stopped:
            seen["stopped"] = True
        seen["loss of one"] = [_loss_of_one(deferred) for deferred in (False, True)]
        everyone: list[bytes] = [keeper.saved]
        torch.distributed.broadcast_object_list(everyone, 0)
        seen["resumed"] = _played("auto", Keeper(), resume=everyone[0])
    (folder / f"{seen['rank']}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
