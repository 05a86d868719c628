"""A row of the table from made-up images to its printed line, at the smallest size."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks import paper_table
from benchmarks.engine.data import DataMissing, load_folder, load_images
from benchmarks.engine.teacher_training import Recipe, augmented, one_cycle, train
from benchmarks.engine.work import Work, generator_macs
from dfad_core.contract.config import DistillConfig, InputConfig, MethodConfig, TrainingConfig
from dfad_core.networks import build_classifier
from tests.benchmarks.conftest import encoded

SMALL = ["--batch-size", "8", "--latent-dim", "4", "--generator-width", "4", "--student-steps", "2"]
SMALL += ["--teacher-epochs", "1", "--device", "cpu", "--steps", "2"]


@pytest.fixture
def table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, coloured: Callable[..., Path]
) -> Callable[..., None]:
    """Runs a row of the made-up data set; its results and teachers go to the test's folder."""
    monkeypatch.setattr(paper_table, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(paper_table, "revision", lambda: {"git_revision": "abc", "git_clean": True})
    monkeypatch.setattr("benchmarks.record.revision", lambda: {"git_revision": "abc", "git_clean": True})
    train_file, test_file = coloured("train.parquet"), coloured("test.parquet", 16)

    def run(*arguments: str) -> None:
        where = ["--train", str(train_file), "--test", str(test_file), "--cache", str(tmp_path / "cache")]
        paper_table.main(["--dataset", "parquet", "--pair", "resnet8:resnet8", *where, *SMALL, *arguments])

    return run


def _lines(tmp_path: Path) -> list[dict[str, object]]:
    file = tmp_path / "results" / "paper_table.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize("method", ["dfad_ar_vi", "best"])
def test_a_row_end_to_end_and_not_twice(
    table: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    table("--method", method)
    first = capsys.readouterr().out.splitlines()[-1]
    assert first.startswith(f"PAPER_TABLE dataset=parquet pair=resnet8:resnet8 method={method} accuracy=")
    (line,) = _lines(tmp_path)
    assert line["steps"] == 2
    assert line["teacher_seconds"] > 0
    assert line["pflop"] > 0
    assert line["curve"][-1]["accuracy"] == pytest.approx(line["student_accuracy"], abs=1e-4)
    assert line["gap"] == pytest.approx(line["teacher_accuracy"] - line["student_accuracy"], abs=1.1e-4)
    table("--method", method)
    assert capsys.readouterr().out.splitlines()[-1] == first
    assert len(_lines(tmp_path)) == 1
    table("--method", method, "--seed", "1")
    assert len(_lines(tmp_path)) == 2
    assert _lines(tmp_path)[1]["teacher_seconds"] == 0  # the teacher was kept
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_profile_writes_no_row(table: Callable[..., None], tmp_path: Path, capsys) -> None:
    table("--profile", str(tmp_path / "profile"))
    assert "teacher" in capsys.readouterr().out
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train", "/nowhere.parquet"], "does not exist"),
        (["--teacher", "/nowhere.pt"], "does not exist"),
        (["--pair", "resnet8:nothing"], "nothing"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    table: Callable[..., None], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        table(*arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "folder"], "--train"),
        (["--dataset", "cifar100", "--data", "/nowhere"], "DFAD_DATA_DIR"),
    ],
)
def test_missing_data_is_said_in_a_line(arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        paper_table.main(arguments)


def test_images_in_structs_and_fine_labels(coloured: Callable[..., Path]) -> None:
    images, labels = load_images(coloured("a.parquet", 8, struct=True, label="fine_label"))
    assert images.shape == (8, 3, 32, 32)
    assert labels.tolist() == [0, 1, 2, 3] * 2


def test_folders_of_classes(tmp_path: Path) -> None:
    for name, value in (("b", 9), ("a", 1)):
        (tmp_path / name).mkdir()
        picture = torch.full((6, 5), value, dtype=torch.uint8).numpy()
        (tmp_path / name / "1.png").write_bytes(encoded(picture))
    images, labels = load_folder(tmp_path)
    assert images[:, 0, 0, 0].tolist() == [1, 9]
    assert labels.tolist() == [0, 1]
    (tmp_path / "a" / "2.png").write_bytes(encoded(torch.zeros(3, 3, dtype=torch.uint8).numpy()))
    with pytest.raises(DataMissing, match="differ"):
        load_folder(tmp_path)
    with pytest.raises(DataMissing, match="class folders"):
        load_folder(tmp_path / "a")


def test_the_teacher_learns() -> None:
    stream = torch.Generator().manual_seed(0)
    labels = torch.arange(128) % 4
    images = labels[:, None, None, None] - 1.5 + 0.3 * torch.randn(128, 3, 32, 32, generator=stream)
    torch.manual_seed(0)
    teacher = build_classifier("resnet8", num_classes=4, input_shape=(3, 32, 32))
    train(teacher, images, labels, Recipe(epochs=6, batch_size=32, peak_rate=0.1), torch.device("cpu"))
    assert not teacher.training
    assert (teacher(images).argmax(dim=1) == labels).float().mean() > 0.9


def test_crops_and_mirrors_are_of_the_image() -> None:
    image = torch.arange(64.0).reshape(1, 1, 8, 8).expand(32, 1, 8, 8)
    seen = augmented(image, torch.Generator().manual_seed(0), mirror=True)
    assert seen.shape == image.shape
    assert len({tuple(one.flatten().tolist()) for one in seen}) > 16
    assert set(seen.flatten().tolist()) <= set(range(64))


def test_one_cycle() -> None:
    assert one_cycle(0.125) == pytest.approx(0.5)
    assert one_cycle(0.25) == pytest.approx(1)
    assert one_cycle(1) == pytest.approx(0)


def test_work_is_counted_from_passes() -> None:
    teacher, student = (
        build_classifier(name, num_classes=10, input_shape=(3, 32, 32)) for name in ("resnet20", "resnet8")
    )
    training = TrainingConfig(batch_size=10, student_steps=5, latent_dim=4, generator_width=4)
    config = DistillConfig(InputConfig((3, 32, 32)), method=MethodConfig("dfad"), training=training)
    from dfad_core.networks.cost import cost

    macs = [cost(net, (3, 32, 32)).macs for net in (teacher, student)]
    own = generator_macs(config)
    assert own == 4 * 8 * 64 + 16**2 * 9 * 8 * 8 + 32**2 * 9 * 8 * 4 + 32**2 * 9 * 4 * 3
    # Two rounds: 20 images of the generator, 100 of the student's updates.
    expected = 2 * (macs[0] * 40 + macs[1] * (300 + 40) + own * 60)
    assert Work(config, teacher, student).petaflop(2, 20) == pytest.approx(expected / 1e15)
