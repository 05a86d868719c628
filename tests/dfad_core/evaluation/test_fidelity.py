import math
from typing import Any

import pytest
import torch
from torch import nn

from dfad_core.contract.errors import Stopped
from dfad_core.contract.evaluation_plan import PATH_STEPS
from dfad_core.evaluation.bn_distance import BnDistance, bn_distance
from dfad_core.evaluation.calibration_error import calibration_error
from dfad_core.evaluation.diversity import class_entropy_of, sample_distance
from dfad_core.evaluation.fidelity import Fidelity, fidelity, measure_fidelity
from dfad_core.evaluation.procedural import procedural
from dfad_core.evaluation.suite import makers
from dfad_core.evaluation.transition import transition_error
from dfad_core.hooks import Hooks, Pace
from dfad_core.losses.discrepancy import discrepancy
from dfad_core.losses.divergence import divergence
from dfad_core.networks import build_classifier

SHAPE = (1, 8, 8)


def test_a_network_agrees_with_itself(tiny) -> None:
    net = tiny.classifier(4)
    made = {"generator": tiny.generator(), "latent_dim": tiny.latent}
    found = fidelity(net, net, shape=SHAPE, num_images=100, **made)
    assert found["trusted_agreement"] == 1
    for source in ("generator", "noise", "procedural", "untrained_generator"):
        assert found[f"calibration_error_{source}"] == pytest.approx(0, abs=1e-6)
        assert found[f"transition_error_{source}"] == pytest.approx(0, abs=1e-6)
        assert found[f"bn_distance_{source}"] > 0
        assert found[f"agreement_{source}"] == 1
        assert found[f"divergence_{source}"] == pytest.approx(0, abs=1e-6)
        assert found[f"logit_gap_{source}"] == 0


def test_figures_by_hand() -> None:
    class Answers(nn.Module):
        def __init__(self, *logits: float) -> None:
            super().__init__()
            self.logits = nn.Parameter(torch.tensor(logits))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.logits.expand(len(x), -1) + 0 * x.sum()

    found = fidelity(Answers(1.0, 0.0), Answers(0.0, 2.0), shape=SHAPE, num_images=10, batch_size=4)
    assert found["agreement_noise"] == 0
    assert found["logit_gap_noise"] == pytest.approx(1.5)
    assert "agreement_generator" not in found
    assert "bn_distance_noise" not in found
    assert found["class_entropy_noise"] == 0
    # Nothing moves the images' classes; the gap of class 0 is that of the two answers.
    sigmoid = [1 / (1 + 2.718281828**-1), 1 / (1 + 2.718281828**2)]
    assert found["transition_error_noise"] == pytest.approx(sigmoid[0] - sigmoid[1], rel=1e-4)
    # Sure of class 1 with 0.881, of which the teacher thinks 0.269.
    assert found["calibration_error_noise"] == pytest.approx(0.8808 - 0.2689, abs=1e-3)


def test_the_seed_decides_and_modes_are_kept(tiny) -> None:
    teacher, student = tiny.classifier(4).eval(), tiny.classifier(4, seed=1).train()
    first = fidelity(teacher, student, shape=SHAPE, seed=1, num_images=64)
    assert first == fidelity(teacher, student, shape=SHAPE, seed=1, num_images=64)
    assert first != fidelity(teacher, student, shape=SHAPE, seed=2, num_images=64)
    assert student.training
    assert not teacher.training


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 9), (4, 8, 20)])
def test_procedural_images_are_normalised_and_varied(shape) -> None:
    images = procedural(32, shape, torch.Generator().manual_seed(0))
    assert images.shape == (32, *shape)
    torch.testing.assert_close(images.mean(dim=(1, 2, 3)), torch.zeros(32), atol=1e-5, rtol=0)
    torch.testing.assert_close(images.std(dim=(1, 2, 3)), torch.ones(32), atol=1e-4, rtol=0)
    assert sample_distance(images) > 1


def test_diversity_by_hand() -> None:
    assert class_entropy_of(torch.eye(4)) == pytest.approx(1)
    assert class_entropy_of(torch.eye(4)[[0, 0, 0, 0]]) == 0
    assert class_entropy_of(torch.eye(4)[[0, 0, 1, 1]]) == pytest.approx(0.5)
    assert class_entropy_of(torch.eye(100)[:2]) == pytest.approx(1)  # two images show at most two classes
    images = torch.stack([torch.zeros(1, 4, 4), 3 * torch.ones(1, 4, 4)])
    assert sample_distance(images) == pytest.approx(3)
    assert sample_distance(images[:1].expand(5, -1, -1, -1)) == 0


def test_calibration_error_cancels_within_a_bin_only() -> None:
    student = torch.log(torch.tensor([[0.9, 0.1], [0.9, 0.1]]))
    teacher = torch.log(torch.tensor([[0.8, 0.2], [0.999, 0.001]]))
    assert calibration_error(student, teacher) == pytest.approx(abs(0.1 - 0.099) / 2, abs=1e-4)
    apart = torch.log(torch.tensor([[0.9, 0.1], [0.6, 0.4]]))
    teacher = torch.log(torch.tensor([[0.8, 0.2], [0.7, 0.3]]))
    assert calibration_error(apart, teacher) == pytest.approx((0.1 + 0.1) / 2, abs=1e-4)


def test_transitions_follow_the_student(tiny) -> None:
    student, stranger = tiny.classifier(4, seed=1).eval(), tiny.classifier(4, seed=2).eval()
    images = torch.randn(16, *SHAPE)
    assert transition_error(student, student, images, 0) == 0
    assert 0 < transition_error(stranger, student, images, 0) <= 1


def test_bn_distance_by_hand() -> None:
    layer = nn.BatchNorm2d(2).eval()
    layer.running_mean.copy_(torch.tensor([1.0, 0.0]))
    layer.running_var.copy_(torch.tensor([4.0, 1.0]))
    images = torch.stack([torch.full((4, 4), 3.0), torch.full((4, 4), -2.0)]).expand(3, -1, -1, -1)
    assert bn_distance(layer, images) == pytest.approx((2 / 2 + 2 / 1) / 2, rel=1e-4)
    assert not layer._forward_pre_hooks
    assert bn_distance(nn.Flatten(), images) is None


def test_sources_near_the_domain_count_more(tiny) -> None:
    teacher, student = tiny.classifier(4).eval(), tiny.classifier(4, seed=1).eval()
    found = fidelity(teacher, student, shape=SHAPE, num_images=64)
    agreements = [found[f"agreement_{s}"] for s in ("noise", "procedural", "untrained_generator")]
    assert min(agreements) <= found["trusted_agreement"] <= max(agreements)


def test_figures_of_small_images_are_those_of_the_plain_formulas(tiny) -> None:
    """1,024 images of each source in batches of 256, distances of the first batch, paths of its first 64."""
    teacher, student = tiny.classifier(8).eval(), tiny.classifier(4, seed=1).eval()
    generator = tiny.generator()
    found = fidelity(teacher, student, shape=SHAPE, generator=generator, latent_dim=tiny.latent, seed=3)
    sources = makers(SHAPE, 3, torch.device("cpu"), generator, tiny.latent)
    trusted = []
    for source in sorted(sources):
        with torch.no_grad():
            images = [sources[source](256) for _ in range(4)]
            t_NK, s_NK = (torch.cat([net(x) for x in images]) for net in (teacher, student))
        figures = {
            "agreement": float((t_NK.argmax(1) == s_NK.argmax(1)).double().mean()),
            "divergence": float(divergence(s_NK, t_NK)),
            "logit_gap": float(discrepancy(s_NK, t_NK)),
            "calibration_error": calibration_error(s_NK, t_NK),
            "class_entropy": class_entropy_of(t_NK),
            "sample_distance": sample_distance(images[0]),
            "bn_distance": bn_distance(teacher, images[0]),
            "transition_error": transition_error(teacher, student, images[0][:64], 3),
        }
        assert {name: found.pop(f"{name}_{source}") for name in figures} == figures
        trusted.append((math.exp(-figures["bn_distance"]), figures["agreement"]))
    weights = sum(weight for weight, _ in trusted)
    assert found == {"trusted_agreement": sum(w * a for w, a in trusted) / weights}


class Clock:
    """Each look takes a while."""

    def __init__(self, seconds: float) -> None:
        self.now, self.seconds = 0.0, seconds

    def __call__(self) -> float:
        self.now += self.seconds
        return self.now


def measured(tiny, pace: Pace, **options: Any) -> Fidelity:
    teacher, student = tiny.classifier(4).eval(), tiny.classifier(4, seed=1).eval()
    sources = makers(SHAPE, 0, torch.device("cpu"), None, 0)
    options = {"num_images": 96, "path_images": 8, "batch_size": 16, **options}
    return measure_fidelity(teacher, student, sources, shape=SHAPE, pace=pace, **options)


def test_the_time_is_shared_by_the_sources_and_what_was_not_measured_is_absent(tiny) -> None:
    whole = measured(tiny, Pace(Hooks(), "evaluating"))
    assert whole.complete
    assert whole.images == {"noise": 96, "procedural": 96, "untrained_generator": 96}
    short = measured(tiny, Pace(Hooks(), "evaluating", bound_seconds=20, clock=Clock(1.0)))
    assert not short.complete
    assert all(0 < images < 96 for images in short.images.values()), short.images
    assert not any(name.startswith("transition_error") for name in short.figures)
    assert 0 <= short.figures["trusted_agreement"] <= 1
    late = measured(tiny, Pace(Hooks(), "evaluating", bound_seconds=6, clock=Clock(4.0)))
    assert late.images == {"noise": 16, "procedural": 0, "untrained_generator": 0}
    assert {name.rpartition("_")[2] for name in late.figures} == {"noise", "agreement"}
    assert late.figures["trusted_agreement"] == late.figures["agreement_noise"]
    none = measured(tiny, Pace(Hooks(), "evaluating", bound_seconds=0))
    assert (none.figures, none.complete) == ({}, False)


def test_every_batch_and_every_step_of_a_path_is_a_sign_of_life(tiny) -> None:
    class Counting(Hooks):
        asked = 0

        def should_stop(self) -> str | None:
            self.asked += 1
            return None

    hooks = Counting()
    measured(tiny, Pace(hooks, "evaluating"))
    assert hooks.asked == 3 * (96 // 16 + PATH_STEPS)


def test_a_stop_leaves_the_networks_as_they_were(tiny) -> None:
    class Stopping(Hooks):
        def should_stop(self) -> str | None:
            return "cancel"

    teacher, student = tiny.classifier(4).eval(), tiny.classifier(4, seed=1).train()
    sources = makers(SHAPE, 0, torch.device("cpu"), None, 0)
    with pytest.raises(Stopped):
        measure_fidelity(teacher, student, sources, shape=SHAPE, pace=Pace(Stopping(), "evaluating"))
    assert (teacher.training, student.training) == (False, True)
    assert not any(m._forward_pre_hooks for m in teacher.modules())


def test_images_that_are_worked_on_in_parts_give_the_figures_of_the_whole(tiny) -> None:
    teacher, student = tiny.classifier(4).eval(), tiny.classifier(4, seed=1).eval()
    images = torch.randn(24, *SHAPE)
    whole = transition_error(teacher, student, images, 0)
    assert transition_error(teacher, student, images, 0, batch_size=7) == pytest.approx(whole, rel=1e-4)
    distance = BnDistance(teacher)
    for part in torch.split(images, 10):
        with distance.reading(), torch.no_grad():
            teacher(part)
    assert distance.value() == pytest.approx(bn_distance(teacher, images), rel=1e-4)


def test_sources_that_are_all_far_off_count_alike(tiny) -> None:
    teacher, student = tiny.classifier(4).eval(), tiny.classifier(4, seed=1).eval()
    for module in teacher.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.fill_(1e6)
            module.running_var.fill_(1e-6)
    found = fidelity(teacher, student, shape=SHAPE, num_images=64)
    agreements = [found[f"agreement_{s}"] for s in ("noise", "procedural", "untrained_generator")]
    assert found["trusted_agreement"] == pytest.approx(sum(agreements) / 3)


def test_large_networks_look_at_fewer_images_at_once_and_measure_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    teacher, student = (
        build_classifier("cnn8", num_classes=4, input_shape=(1, 8, 8), args={"width": width}).eval()
        for width in (8, 4)
    )
    sizes: list[int] = []
    student.register_forward_pre_hook(lambda _module, inputs: sizes.append(len(inputs[0])))
    whole = fidelity(teacher, student, shape=(1, 8, 8), num_images=64)
    assert max(sizes) == 64
    sizes.clear()
    monkeypatch.setattr("dfad_core.contract.limits.EVALUATION_BYTES", 100_000)
    parts = fidelity(teacher, student, shape=(1, 8, 8), num_images=64)
    assert 1 <= max(sizes) < 32
    assert parts == pytest.approx(whole, rel=1e-3, abs=1e-4)
