import json
from pathlib import Path

import pytest

from benchmarks import calibration_jobs as jobs
from benchmarks import public_teachers


def test_jobs_are_the_same_at_every_call_and_differ() -> None:
    drawn = jobs.jobs_of("mnist-lenet5", 12)
    assert drawn == jobs.jobs_of("mnist-lenet5", 12)
    assert drawn[:4] == jobs.jobs_of("mnist-lenet5", 4)
    assert len({(job.method, job.updates) for job in drawn}) == 12
    assert len({job.name for job in drawn}) == 12


def test_every_teacher_has_a_kind() -> None:
    names = jobs.teacher_names()
    assert len(names) >= 13
    assert {name.partition("-")[0] for name in names} == set(jobs.KINDS)
    assert {name.partition("-")[2] for name in names if name.startswith("digits16")} == set(
        public_teachers.TEACHERS
    )


def test_a_job_is_run_once_and_its_student_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "FILE", tmp_path / "lines.jsonl")
    kind = jobs.Kind((("cnn8", {"width": 2}),), {"best": 1}, (1, 1))
    monkeypatch.setitem(jobs.KINDS, "digits8", kind)
    arguments = ["--only", "digits8", "--jobs", "1", "--folder", str(tmp_path)]
    jobs.main(arguments)
    jobs.main(arguments)
    (line,) = [json.loads(one) for one in (tmp_path / "lines.jsonl").read_text().splitlines()]
    assert 0 <= line["accuracy"] <= 1
    assert (tmp_path / "students" / "digits8-cnn-00.pt").is_file()
    (tmp_path / "students" / "digits8-cnn-00.pt").unlink()
    assert [job.name for job in jobs.missing(["digits8-cnn"], 1, tmp_path)] == ["digits8-cnn-00"]


def test_missing_data_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="DFAD_DATA_DIR"):
        jobs.main(["--only", "mnist", "--data", "/nowhere"])
