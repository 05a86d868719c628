"""What is told of a teacher before it teaches: norms, gradient, how sure it is of noise, which methods suit.

Guards: that a look at a teacher changes nothing of it.
"""

from __future__ import annotations

import json

import torch
from torch import Tensor, nn

from dfad_core.contract.config import InputConfig
from dfad_core.contract.inspection import Inspection, NoiseAnswers
from dfad_core.contract.methods import METHODS
from dfad_core.contract.serialization import from_json, to_json
from dfad_core.evaluation.inspection import inspect_teacher
from dfad_core.formats import LoadedTeacher
from dfad_core.networks import build_classifier


def inspected(module: nn.Module, shape: tuple[int, int, int], classes: int, **given: bool) -> Inspection:
    teacher = LoadedTeacher(module, "cnn8", {}, classes, InputConfig(shape), "safetensors", ["a note"])
    return inspect_teacher(teacher, **{"offers": False, **given})


def suits(report: Inspection) -> dict[str, bool]:
    return {m.name: m.suits for m in report.methods}


def test_a_teacher_with_batch_norm() -> None:
    teacher = build_classifier("cnn8", num_classes=10, input_shape=(1, 8, 8)).eval()
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    found = inspected(teacher, (1, 8, 8), 10)
    written = json.loads(json.dumps(to_json(found)))
    assert from_json(Inspection, written) == found
    assert "students" not in written
    assert found.norms == {"BatchNorm2d": 3}
    assert found.bn_layers == 3
    assert found.gradient is True
    assert found.decided is not None
    assert 0.1 <= found.decided.confidence <= 1
    assert set(suits(found)) == set(METHODS)
    assert suits(found)["deepinversion"]
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_students_are_offered_on_request() -> None:
    teacher = build_classifier("cnn8", num_classes=10, input_shape=(1, 8, 8)).eval()
    found = inspected(teacher, (1, 8, 8), 10, offers=True)
    offers = found.students or ()
    assert [offer.compression >= least for offer, least in zip(offers, (2, 4, 10), strict=True)] == [True] * 3
    assert found.timing is not None
    assert all((one.one_image_milliseconds or 0) > 0 for one in (found.timing, *offers))


def test_a_teacher_without() -> None:
    teacher = build_classifier("lenet5", num_classes=10, input_shape=(1, 32, 32)).eval()
    found = inspected(teacher, (1, 32, 32), 10)
    assert found.norms == {}
    assert not any(suits(found)[name] for name, method in METHODS.items() if method.needs_bn)
    assert {"deepinversion", "nayer", "mad"} <= {name for name, suited in suits(found).items() if not suited}
    assert suits(found)["best"]


class Steps(nn.Module):
    """Answers with steps: surely the first class, and no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 3)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        logits: Tensor = self.linear(x_BCHW.flatten(1).round()) * 0 + torch.tensor([50.0, 0.0, 0.0])
        return logits


def test_a_teacher_that_no_generator_can_learn_from() -> None:
    found = inspected(Steps().eval(), (1, 8, 8), 3)
    assert found.gradient is False
    assert found.decided == NoiseAnswers(confidence=1.0, classes=1, of=3)
    assert not suits(found)["dfad"]
    assert not suits(found)["noise"]
    assert suits(found)["level_sets"]
