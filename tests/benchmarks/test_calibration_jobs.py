import json
from pathlib import Path

import pytest
import torch

from benchmarks import calibration_jobs as jobs
from benchmarks import public_teachers


def test_jobs_are_the_same_at_every_call_and_differ() -> None:
    drawn = jobs.jobs_of("mnist-lenet5", 12)
    assert drawn == jobs.jobs_of("mnist-lenet5", 12)
    assert drawn[:4] == jobs.jobs_of("mnist-lenet5", 4)
    assert len({(job.method, job.updates) for job in drawn}) == 12
    long = drawn[jobs.SHORT_JOBS :]
    assert {job.method for job in long} <= set(jobs.LONG_METHODS)
    assert min(job.updates for job in long) >= jobs.LONGER * jobs.KINDS["mnist"].updates[0]


def test_every_teacher_has_a_kind() -> None:
    names = jobs.teacher_names()
    assert len(names) >= 13
    assert {name.partition("-")[0] for name in names} == set(jobs.KINDS)
    assert {name.partition("-")[2] for name in names if name.startswith("digits16")} == set(
        public_teachers.TEACHERS
    )


def test_a_run_leaves_a_student_at_every_stop_and_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "FILE", tmp_path / "lines.jsonl")
    kind = jobs.Kind((("cnn8", {"width": 2}),), {"best": 1}, (50, 50))
    monkeypatch.setitem(jobs.KINDS, "digits8", kind)
    monkeypatch.setattr(jobs, "STOPS", (0.3, 1.0))
    arguments = ["--only", "digits8", "--jobs", "1", "--folder", str(tmp_path)]
    jobs.main(arguments)
    jobs.main(arguments)
    lines = [json.loads(one) for one in (tmp_path / "lines.jsonl").read_text().splitlines()]
    assert [(line["share"], line["steps"]) for line in lines] == [(0.3, 3), (1.0, 10)]
    assert all(0 <= line["accuracy"] <= 1 for line in lines)
    (job,) = jobs.jobs_of("digits8-cnn", 1)
    paths = [job.student_file(tmp_path, share) for share in jobs.STOPS]
    first, last = (torch.load(path, weights_only=True) for path in paths)
    assert any(not torch.equal(first[name], last[name]) for name in first)
    paths[-1].unlink()
    assert list(jobs.missing(["digits8-cnn"], 1, tmp_path)) == [job]


def test_missing_data_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="DFAD_DATA_DIR"):
        jobs.main(["--only", "mnist", "--data", "/nowhere"])
