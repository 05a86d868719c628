"""Class embeddings made into latent vectors by linear layers that never settle."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class NoisyLabels(nn.Module):
    """Embedding of the wanted class -> BN -> a linear layer with random weights -> z.

    Tran et al. 2024, arXiv 2310.00258 (NAYER), the noisy layer. Each group of as many images as there are
    classes has a linear layer of its own, so that images of one class differ within a batch.

    Shapes: classes (B,) int64, with B at most `groups * K` -> z (B, latent_dim).
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

    def forward(self, wanted_B: Tensor) -> Tensor:
        """One latent vector for each wanted class."""
        x_BE = self.norm(self.embeddings_KE[wanted_B])
        group_B = torch.arange(len(x_BE), device=x_BE.device) // len(self.embeddings_KE)
        return torch.einsum("be,bez->bz", x_BE, self.weight_GEZ[group_B % len(self.weight_GEZ)])
