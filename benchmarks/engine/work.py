"""Student updates and arithmetic of a run, counted from its settings, rounds and teacher queries."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.engine.plain import PlainGenerator
from dfad_core.contract.config import DistillConfig
from dfad_core.methods import resolve_recipe
from dfad_core.networks.batch_norm import bn_layers
from dfad_core.networks.cost import FLOPS_OF_A_MAC, cost

GENERATOR_SOURCES = ("generator", "search")


def updates_a_round(config: DistillConfig, teacher: nn.Module) -> int:
    """Student updates in one round: the job's own number, else the method's for such a teacher."""
    return resolve_recipe(config, teacher_has_bn=bool(bn_layers(teacher))).student_steps


class Work:
    """Arithmetic of runs of one config: floating-point operations of convolutions and linear layers.

    A multiply-accumulate is two operations. Forward is 1 pass, gradients of weights and inputs 2 more, of
    inputs alone 1 more:

    - teacher: 1 pass for each query, 1 more where the gradient goes through it to the images;
    - student: 3 passes for each image of each update (6 with virtual interpolation), and 2 in the
      generator phase where the loss depends on the student;
    - generator: 3 passes for each image of its own updates, 1 for every other image.

    The generator counts as DFAD's own, without the saving of upsampling and convolution in one operation.
    """

    def __init__(self, config: DistillConfig, teacher: nn.Module, student: nn.Module) -> None:
        training, shape = config.training, config.input.shape
        recipe = resolve_recipe(config, teacher_has_bn=bool(bn_layers(teacher)))
        searches = recipe.source in ("search", "pixels")
        inner = recipe.inner_steps if searches else int(recipe.source == "generator")
        self._gradient_images = inner * training.batch_size / recipe.images_every
        """A round, on average."""
        images = recipe.student_steps * training.batch_size * (1 - recipe.warm_up)
        self._student_passes = images * (6 if recipe.interpolation_weight else 3)
        if recipe.adversarial_weight:
            self._student_passes += 2 * self._gradient_images
        self._teacher_macs, self._student_macs = cost(teacher, shape).macs, cost(student, shape).macs
        self._generator_macs = 0
        if recipe.source in GENERATOR_SOURCES:
            self._generator_macs = generator_macs(config)

    def petaflop(self, rounds: int, queries: int) -> float:
        """10^15 operations of so many rounds and teacher queries."""
        gradient_images = rounds * self._gradient_images
        macs = (
            rounds * self._student_passes * self._student_macs
            + (3 * gradient_images + max(0, queries - gradient_images)) * self._generator_macs
        )
        return self.teacher_petaflop(rounds, queries) + FLOPS_OF_A_MAC * macs / 1e15

    def teacher_petaflop(self, rounds: float, queries: float) -> float:
        """The teacher's part of `petaflop`."""
        passes = queries + rounds * self._gradient_images
        return FLOPS_OF_A_MAC * passes * self._teacher_macs / 1e15


def generator_macs(config: DistillConfig) -> int:
    """Multiply-accumulates of one image of DFAD's generator, every convolution at its output's resolution."""
    training = config.training
    plain = PlainGenerator(training.latent_dim, training.generator_width, config.input.shape)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        plain.eval()(torch.zeros(1, training.latent_dim))
    return int(counter.get_total_flops()) // FLOPS_OF_A_MAC
