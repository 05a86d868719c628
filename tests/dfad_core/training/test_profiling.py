import json
import time
from typing import ClassVar

import pytest
import torch

from dfad_core.hooks import Hooks
from dfad_core.training.profiling import Profile, TraceHooks, profiled, region
from dfad_core.training.trainer import distill


def test_inner_regions_are_not_counted_twice() -> None:
    profile = Profile()
    with profile.region("outer"):
        time.sleep(0.01)
        with profile.region("inner"):
            time.sleep(0.03)
    profile.total = 1.0
    assert profile.seconds["inner"] >= 0.03
    assert profile.seconds["outer"] < profile.seconds["inner"]
    assert profile.calls == {"outer": 1, "inner": 1}


def test_nothing_is_counted_without_a_profile() -> None:
    with region("anything"):
        pass
    with profiled() as profile:
        pass
    assert profile.seconds == {}


def test_one_profile_at_a_time() -> None:
    with profiled(), pytest.raises(RuntimeError, match="already"), profiled():
        pass
    with profiled():
        pass


def test_a_run_is_taken_apart(tiny, tmp_path) -> None:
    class Witness(Hooks):
        phases: ClassVar[list[str]] = []

        def phase(self, name: str) -> None:
            self.phases.append(name)

    with profiled() as profile, TraceHooks(tmp_path / "trace", Witness()) as hooks:
        distill(tiny.classifier(8), tiny.classifier(4), tiny.config(steps=8), hooks)
    expected = {"teacher", "student", "generator", "backward, student step", "optimizer"}
    assert expected <= profile.seconds.keys()
    assert sum(profile.seconds.values()) <= profile.total
    table = profile.table()
    assert all(name in table for name in (*expected, "python and the rest"))
    assert json.loads((tmp_path / "trace" / "trace.json").read_text())["traceEvents"]
    assert Witness.phases == ["warming_up", "distilling", "evaluating"]


def test_a_run_that_ends_early_leaves_no_trace_running(tiny, tmp_path) -> None:
    with TraceHooks(tmp_path / "trace") as hooks:
        distill(tiny.classifier(8), tiny.classifier(4), tiny.config(steps=2), hooks)
    assert json.loads((tmp_path / "trace" / "trace.json").read_text())["traceEvents"]
    assert not torch.autograd._profiler_enabled()
