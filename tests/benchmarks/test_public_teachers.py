"""The benchmark of public networks, at the smallest size: teacher, file, service and student are real."""

from __future__ import annotations

import pytest

from benchmarks import public_teachers

pytest.importorskip("transformers")


@pytest.mark.filterwarnings("ignore")
def test_one_teacher_from_end_to_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DFAD_DATABASE_URL", "DFAD_BROKER_URL"):
        monkeypatch.delenv(name, raising=False)
    options = ["--only", "resnet", "--epochs", "1", "--steps", "2", "--no-record"]
    assert public_teachers.main(options) == 0
    line = capsys.readouterr().out
    assert "PUBLIC_TEACHER teacher=resnet method=best written=folder" in line
    assert "bn_layers=0" not in line
