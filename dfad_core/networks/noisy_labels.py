"""Latent vectors from class embeddings, through linear layers with fresh random weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class NoisyLabels(nn.Module):
    """Embedding of the requested class -> BN -> a linear layer with random weights -> z.

    Tran et al. 2024, arXiv 2310.00258 (NAYER), the noisy layer. The first image of every class in a batch
    goes through the first layer, the second one through the second layer, and so on: images of one class
    have distinct latents.

    Shapes: classes (B,) int64, none more than `groups` times -> z (B, latent_dim).
    """

    def __init__(self, embeddings_KE: Tensor, groups: int, latent_dim: int) -> None:
        super().__init__()
        self.embeddings_KE: Tensor
        self.register_buffer("embeddings_KE", embeddings_KE.float(), persistent=False)
        width = embeddings_KE.shape[1]
        self.norm = nn.BatchNorm1d(width)
        self.weight_GEZ = nn.Parameter(torch.empty(groups, width, latent_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Fresh random weights: N(0, 1 / E), so that z keeps the embeddings' scale."""
        nn.init.normal_(self.weight_GEZ, std=self.weight_GEZ.shape[1] ** -0.5)

    def forward(self, classes_B: Tensor) -> Tensor:
        """One latent vector for each requested class."""
        x_BE = self.norm(self.embeddings_KE[classes_B])
        return torch.einsum("be,bez->bz", x_BE, self.weight_GEZ[earlier_occurrences(classes_B)])


def earlier_occurrences(classes_B: Tensor) -> Tensor:
    """For each entry, how often its value occurs before it: (B,) int64 -> (B,) int64.

    >>> earlier_occurrences(torch.tensor([2, 0, 2, 2, 0])).tolist()
    [0, 0, 1, 2, 1]
    """
    order_B = torch.argsort(classes_B, stable=True)
    sorted_B = classes_B[order_B]
    places_B = torch.arange(len(classes_B), device=classes_B.device)
    return torch.empty_like(order_B).scatter_(0, order_B, places_B - torch.searchsorted(sorted_B, sorted_B))
