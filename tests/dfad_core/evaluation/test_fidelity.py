import pytest
import torch
from torch import nn

from dfad_core.evaluation.diversity import class_entropy_of, sample_distance
from dfad_core.evaluation.fidelity import fidelity, procedural

SHAPE = (1, 8, 8)


def test_a_network_agrees_with_itself(tiny) -> None:
    net = tiny.classifier(4)
    made = {"generator": tiny.generator(), "latent_dim": tiny.latent}
    found = fidelity(net, net, shape=SHAPE, num_images=100, **made)
    for source in ("generator", "noise", "procedural"):
        assert found[f"agreement_{source}"] == 1
        assert found[f"divergence_{source}"] == pytest.approx(0, abs=1e-6)
        assert found[f"logit_gap_{source}"] == 0


def test_figures_by_hand() -> None:
    class Answers(nn.Module):
        def __init__(self, *logits: float) -> None:
            super().__init__()
            self.logits = nn.Parameter(torch.tensor(logits))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.logits.expand(len(x), -1)

    found = fidelity(Answers(1.0, 0.0), Answers(0.0, 2.0), shape=SHAPE, num_images=10, batch_size=4)
    assert found["agreement_noise"] == 0
    assert found["logit_gap_noise"] == pytest.approx(1.5)
    assert "agreement_generator" not in found


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
