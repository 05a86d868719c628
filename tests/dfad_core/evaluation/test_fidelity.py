import pytest
import torch
from torch import nn

from dfad_core.evaluation.bn_distance import bn_distance
from dfad_core.evaluation.calibration_error import calibration_error
from dfad_core.evaluation.diversity import class_entropy_of, sample_distance
from dfad_core.evaluation.fidelity import fidelity
from dfad_core.evaluation.procedural import procedural
from dfad_core.evaluation.transition import transition_error

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
