"""Every number of threads is run alone and beside the other program; no test looks at how long they take."""

import json

from benchmarks import busy_machine, table


def test_six_runs_and_their_ratios_are_recorded(tmp_path, monkeypatch, capsys):
    asked = []

    def train(threads, steps):
        asked.append(threads)
        return busy_machine.train(1, steps)

    monkeypatch.setattr(busy_machine, "train_apart", train)
    monkeypatch.setattr(busy_machine, "usable_processors", lambda: 2)
    monkeypatch.setattr(busy_machine, "SETTLING_SECONDS", 0)
    assert busy_machine.main(["--steps", "1"], tmp_path) == 0
    assert asked == [1, 2, 0] * 2
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("BUSY_MACHINE alone_all_ratio=")
    (line,) = [json.loads(text) for text in (tmp_path / "busy_machine.jsonl").read_text().splitlines()]
    assert set(line["runs"]) == {
        f"{where}_{name}" for where in ("alone", "busy") for name in ("one", "all", "auto")
    }
    assert all(run["seconds"] > 0 for run in line["runs"].values())
    assert line["runs"]["busy_one"]["threads"] == 1
    rows = table.busy_machine_table([line]).splitlines()
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| idle", "| busy"]
