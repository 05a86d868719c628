"""Latents from class embeddings: every image of a batch has one of its own."""

import pytest
import torch

from dfad_core.data.class_deck import ClassDeck, largest_count
from dfad_core.networks.noisy_labels import NoisyLabels, earlier_occurrences


@pytest.mark.parametrize("batch", [128, 400])
@pytest.mark.parametrize("num_classes", [10, 100])
def test_all_latents_of_a_batch_are_distinct(num_classes: int, batch: int) -> None:
    deck = ClassDeck(num_classes, seed=0)
    layer = NoisyLabels(torch.eye(num_classes), largest_count(batch, num_classes), latent_dim=5)
    for _ in range(3):
        with torch.no_grad():
            latents = layer(torch.from_numpy(deck.deal(batch)))
        assert len(latents.unique(dim=0)) == batch


def test_occurrences_are_counted_in_order() -> None:
    assert earlier_occurrences(torch.tensor([2, 0, 2, 2, 0])).tolist() == [0, 0, 1, 2, 1]


def test_weights_are_fresh_after_a_reset() -> None:
    layer = NoisyLabels(torch.eye(3), groups=2, latent_dim=5)
    before = layer.weight_GEZ.detach().clone()
    layer.reset_parameters()
    assert not torch.equal(before, layer.weight_GEZ)
