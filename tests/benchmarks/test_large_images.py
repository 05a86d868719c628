"""The whole job runs, and its line has times, the peak and what was expected of both."""

import json

import pytest

from benchmarks import large_images, table
from benchmarks.service.service_tables import large_rows


@pytest.fixture
def here(monkeypatch):
    """Parts of a run in this process."""

    def run(name, case, steps, memory_bytes, folder):
        large_images.make_teacher(case, folder / "teacher.safetensors")
        return large_images.run(case, folder / "teacher.safetensors", steps, memory_bytes)

    monkeypatch.setattr(large_images, "run_apart", run)


def test_a_job_and_its_line(here, tmp_path, capsys):
    assert large_images.main(["--case", "8", "--steps", "3", "--batch-size", "16"], tmp_path) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("LARGE_IMAGES step_seconds=")
    (line,) = [json.loads(text) for text in (tmp_path / "large_images.jsonl").read_text().splitlines()]
    assert (line["case"], line["steps"], line["batch_size"], line["slices"]) == ("8", 3, 16, 1)
    assert line["peak_bytes"] >= line["job_bytes"]
    assert line["estimated_bytes"] > 0
    assert line["student_parameters"] > 0
    assert {"git_revision", "machine", "versions"} <= set(line)
    head, rows = large_rows([line])
    assert len(head) == len(rows[0])
    assert "large_images.jsonl" in [name for name, _, _ in table.SERVICE_TABLES]
