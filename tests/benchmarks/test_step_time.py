"""Both loops do what they say; no test looks at how long they take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import step_time
from benchmarks.engine.plain import PlainGenerator, PlainLoop
from dfad_core.networks import build_classifier
from dfad_core.networks.generator import Generator


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 16, 24), (2, 33, 17)])
def test_the_plain_generator_is_the_same_function(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    ours = Generator(10, 8, shape)
    plain = PlainGenerator(10, 8, shape)
    weights = list(ours.state_dict().values())
    names = list(plain.state_dict())
    order = _layers_in_order(ours)
    assert len(names) == len(weights) == len(order)
    plain.load_state_dict(dict(zip(names, order, strict=True)))
    z_BZ = torch.randn(4, 10)
    assert torch.allclose(plain(z_BZ), ours(z_BZ), atol=1e-4)


def _layers_in_order(generator: Generator) -> list[torch.Tensor]:
    layers = [generator.linear, generator.norm]
    for conv, norm in zip(generator.convs, generator.norms, strict=True):
        layers += [conv, norm]
    layers += [generator.to_image, generator.image_norm]
    return [tensor for layer in layers for tensor in layer.state_dict().values()]


def test_the_plain_loop_trains_both_networks_and_leaves_the_teacher() -> None:
    torch.manual_seed(0)
    teacher, student = (
        build_classifier(name, num_classes=10, input_shape=(1, 8, 8)) for name in ("cnn8", "mlp8")
    )
    generator = PlainGenerator(6, 4, (1, 8, 8))
    before = [[p.clone() for p in m.parameters()] for m in (teacher, student, generator)]
    PlainLoop(teacher, student, generator, latent_dim=6, batch_size=8).run_round()
    moved = [
        any(not torch.equal(p, q) for p, q in zip(m.parameters(), old, strict=True))
        for m, old in zip((teacher, student, generator), before, strict=True)
    ]
    assert moved == [False, True, True]


def test_prints_the_ratios_and_records_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(step_time, "RESULTS", tmp_path)
    arguments = "--pair cnn8:mlp8 --shape 1x8x8 --batch-size 8 --generator-width 4 --latent-dim 6 --rounds 1"
    step_time.main([*arguments.split(), "--device", "cpu"])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("STEP_TIME ratio=")
    assert " ratio_with_pool=" in last
    line = json.loads((tmp_path / "step_time.jsonl").read_text())
    assert line["pair"] == "cnn8:mlp8"
    assert min(line["plain_seconds"], line["engine_seconds"], line["engine_with_pool_seconds"]) > 0
