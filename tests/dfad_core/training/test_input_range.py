"""A run makes images in the range that its teacher takes, and says which."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from dfad_core.contract.config import InputConfig
from dfad_core.contract.errors import Stopped
from dfad_core.hooks import Hooks
from dfad_core.training.trainer import distill


class Events(Hooks):
    def __init__(self) -> None:
        self.found: list[tuple[str, dict]] = []

    def note(self, kind: str, data: dict) -> None:
        self.found.append((kind, data))


class Normalised(nn.Module):
    """`network` behind the preprocessing of raw pixels from 0 to 255."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        """Logits."""
        return self.network((pixels_BCHW - 110) / 60)


@pytest.mark.parametrize("method", ["dfad", "level_sets", "noise", "fast"])
def test_a_teacher_of_raw_pixels_gets_raw_pixels(tiny, method: str) -> None:
    teacher, student, events = Normalised(tiny.classifier(8)), tiny.classifier(4, seed=1), Events()
    config = tiny.config(method={"name": method}, steps=2, inner_steps=2)
    result = distill(teacher, student, config, events)
    (about,) = [data for kind, data in events.found if kind == "input_range"]
    assert (about["source"], about["low"], about["high"]) == ("batch_norm", [0], [255])
    assert result.synthetic_BCHW is not None
    assert result.synthetic_BCHW.min() >= 0
    assert 150 < result.synthetic_BCHW.max() <= 255


def test_images_of_a_known_preprocessing_are_possible_pictures(tiny) -> None:
    config = tiny.config(method={"name": "dfad"}, steps=2)
    config = dataclasses.replace(config, input=InputConfig((1, 8, 8), (0.3,), (0.2,)))
    events = Events()
    result = distill(tiny.classifier(8), tiny.classifier(4, seed=1), config, events)
    assert result.synthetic_BCHW is not None
    pixels = result.synthetic_BCHW * 0.2 + 0.3
    assert pixels.min() >= -1e-5
    assert pixels.max() <= 1 + 1e-5
    assert not [kind for kind, _ in events.found if kind == "input_range"]


def test_estimating_the_range_draws_from_no_stream_of_the_run(tiny) -> None:
    """A resumed run estimates again, and goes on as the undisturbed one."""

    class Keeping(Hooks):
        def __init__(self, stop_after: int) -> None:
            self.stop_after, self.asked, self.kept = stop_after, 0, b""

        def checkpoint(self, step: int, data: bytes) -> None:
            if step == 2:
                self.kept = data

        def should_stop(self) -> str | None:
            self.asked += 1
            return "enough" if self.asked == self.stop_after else None

    def trained(hooks: Hooks, resume: bytes | None = None) -> list[Tensor]:
        teacher, student = Normalised(tiny.classifier(8)), tiny.classifier(4, seed=1)
        config = tiny.config(method={"name": "best"}, steps=4)
        return list(distill(teacher, student, config, hooks, resume=resume).student.state_dict().values())

    stopped = Keeping(stop_after=2)
    with pytest.raises(Stopped):
        trained(stopped)
    for one, other in zip(trained(Hooks()), trained(Hooks(), stopped.kept), strict=True):
        assert torch.equal(one, other)
