import json
from pathlib import Path

import pytest

from benchmarks import fidelity_calibration as calibration
from dfad_core.evaluation import proof


def _line(dataset: str, accuracy: float, **signals: float) -> dict[str, object]:
    return {"dataset": dataset, "accuracy": accuracy, "signals": signals}


def test_rank_correlation_by_hand() -> None:
    assert calibration.ranks([3, 1, 3, 2]).tolist() == [3.5, 1, 3.5, 2]
    assert calibration.spearman([1, 2, 3, 4], [10, 20, 25, 1000]) == pytest.approx(1)
    assert calibration.spearman([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    # d^2 = 0 + 1 + 1: 1 - 6 * 2 / (3 * 8)
    assert calibration.spearman([1, 2, 3], [1, 3, 2]) == pytest.approx(0.5)
    assert calibration.spearman([1, 1, 1], [1, 2, 3]) == 0


def test_a_signal_needs_enough_jobs_and_every_data_set() -> None:
    count = calibration.LEAST_JOBS
    lines = [
        _line(dataset, i / 100, agreement_noise=i / 50, divergence_noise=-i * sign, rare=1.0 * i)
        for dataset, sign in (("digits", 1), ("mnist", -1))
        for i in range(count)
    ]
    for line in lines[3:]:
        del line["signals"]["rare"]  # type: ignore[attr-defined]
    found = calibration.correlations(lines)
    assert found == {
        "agreement_noise": {"digits": 1.0, "mnist": 1.0},
        "divergence_noise": {"digits": -1.0, "mnist": 1.0},
    }
    assert list(proof.proven(found)) == ["agreement_noise"]
    rows = calibration.table(found).splitlines()
    assert rows[1].split() == ["agreement_noise", "1.000", "1.000", "yes"]
    assert rows[2].split()[-1] == "no"


def test_a_job_is_run_once_and_the_table_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(calibration, "FILE", tmp_path / "lines.jsonl")
    monkeypatch.setattr(proof, "FILE", tmp_path / "proof.json")
    arguments = ["--dataset", "digits", "--methods", "best", "--steps", "1", "--seeds", "0"]
    calibration.main(arguments)
    (line,) = [json.loads(one) for one in (tmp_path / "lines.jsonl").read_text().splitlines()]
    assert 0 <= line["accuracy"] <= 1
    assert "trusted_agreement" in line["signals"]
    calibration.main([*arguments, "--write"])
    assert len((tmp_path / "lines.jsonl").read_text().splitlines()) == 1
    assert json.loads((tmp_path / "proof.json").read_text())["correlations"] == {}
    assert "shown" in capsys.readouterr().out


def test_missing_data_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="DFAD_DATA_DIR"):
        calibration.main(["--dataset", "mnist", "--data", "/nowhere"])


def test_the_committed_proof_is_that_of_the_committed_lines() -> None:
    found = calibration.correlations(calibration.read(calibration.FILE))
    assert found == proof.correlations()
