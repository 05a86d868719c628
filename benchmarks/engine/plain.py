"""The reference loop of the step-time benchmark: data-free adversarial distillation in plain PyTorch.

float32 in NCHW; the generator runs with its graph in every student step and the graph is discarded; teacher
and student collect gradients in the generator's step. Fang et al. 2019, arXiv 1912.11006: five student steps
on fresh batches, then one generator step on another.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STUDENT_STEPS = 5
MAX_START_SIDE = 16


class PlainGenerator(nn.Module):
    """DFAD's generator from stock layers, the function of `dfad_core.networks.generator.Generator`.

    Images over 64 pixels get further upsampling stages of the widest width.
    """

    def __init__(self, latent_dim: int, width: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, self.height, self.width = shape
        stages = 2
        while max(self.height, self.width) > MAX_START_SIDE * 2**stages:
            stages += 1
        self.start = (2 * width, -(-self.height // 2**stages), -(-self.width // 2**stages))
        self.linear = nn.Linear(latent_dim, 2 * width * self.start[1] * self.start[2])
        layers: list[nn.Module] = [nn.BatchNorm2d(2 * width)]
        for inputs, outputs in pairwise([2 * width] * stages + [width]):
            layers += [
                nn.Upsample(scale_factor=2),
                nn.Conv2d(inputs, outputs, 3, padding=1),
                nn.BatchNorm2d(outputs),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        layers += [nn.Conv2d(width, channels, 3, padding=1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        self.image_norm = nn.BatchNorm2d(channels, affine=False)

    def forward(self, z_BZ: Tensor) -> Tensor:
        """One image for each row of `z_BZ`."""
        x = self.layers(self.linear(z_BZ).reshape(-1, *self.start))
        image: Tensor = self.image_norm(x[:, :, : self.height, : self.width])
        return image


class PlainLoop:
    """Networks and optimizers of the public recipe: SGD for the student, Adam for the generator."""

    def __init__(
        self,
        teacher: nn.Module,
        student: nn.Module,
        generator: nn.Module,
        *,
        latent_dim: int,
        batch_size: int,
    ) -> None:
        self._noise: dict[str, Any] = {"device": next(student.parameters()).device}
        self._z_shape = (batch_size, latent_dim)
        self.teacher, self.student, self.generator = teacher.eval(), student.train(), generator.train()
        self.student_optimizer = torch.optim.SGD(
            student.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4
        )
        self.generator_optimizer = torch.optim.Adam(generator.parameters(), lr=1e-3)

    def run_round(self) -> None:
        """Five student updates and one of the generator."""
        for _ in range(STUDENT_STEPS):
            self.student_optimizer.zero_grad()
            images_BCHW = self.generator(torch.randn(self._z_shape, **self._noise)).detach()
            gap = F.l1_loss(self.student(images_BCHW), self.teacher(images_BCHW).detach())
            gap.backward()  # type: ignore[no-untyped-call]
            self.student_optimizer.step()
        self.generator_optimizer.zero_grad()
        images_BCHW = self.generator(torch.randn(self._z_shape, **self._noise))
        gap = -F.l1_loss(self.student(images_BCHW), self.teacher(images_BCHW))
        gap.backward()  # type: ignore[no-untyped-call]
        self.generator_optimizer.step()
