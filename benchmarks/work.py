"""How much arithmetic a run was, counted from what it did."""

from __future__ import annotations

from torch import nn

from dfad_core.contract.config import DistillConfig
from dfad_core.contract.methods import get_method
from dfad_core.methods import resolve_recipe
from dfad_core.networks.batch_norm import bn_layers
from dfad_core.networks.cost import cost
from dfad_core.networks.generator import Generator

LEARNERS = ("generator", "search")


def petaflop(
    config: DistillConfig, teacher: nn.Module, student: nn.Module, rounds: int, queries: int
) -> float:
    """10^15 floating-point operations of convolutions and linear layers; a multiply-accumulate is two.

    Forward is 1 pass, gradients of weights and inputs 2 more, of inputs alone 1 more:

    - teacher: 1 pass for each image it was asked about, 1 more where its gradient led on to the images;
    - student: 3 passes for each image of each update (6 with virtual interpolation), and 2 in the
      generator's turn where that asks for it;
    - generator: 3 passes for each image of its own updates, 1 for every other image made with it.

    The generator is counted as DFAD's own, without what computing upsampling and convolution in one saves.
    """
    recipe = resolve_recipe(config.method, teacher_has_bn=bool(bn_layers(teacher)))
    method, training, shape = get_method(config.method.name), config.training, config.input.shape
    macs = {"teacher": cost(teacher, shape).macs, "student": cost(student, shape).macs}
    updates = training.student_steps or method.student_steps
    searches = recipe.source in ("search", "pixels")
    inner = (training.inner_steps or method.inner_steps) if searches else int(recipe.source == "generator")
    size = training.batch_size
    led_on = rounds * inner * size
    passes = {
        "teacher": queries + led_on,
        "student": rounds * updates * size * (6 if recipe.interpolation_weight else 3)
        + (2 * led_on if recipe.adversarial_weight else 0),
    }
    total = sum(passes[name] * macs[name] for name in passes)
    if recipe.source in LEARNERS:
        generator = Generator(training.latent_dim, training.generator_width, shape)
        total += generator_macs(generator) * (3 * led_on + max(0, queries - led_on))
    return 2 * total / 1e15


def generator_macs(generator: Generator) -> int:
    """Multiply-accumulates of one image, every convolution at its output's full resolution."""
    height, width = generator.start
    macs = generator.linear.in_features * generator.linear.out_features
    for conv in generator.convs:
        assert isinstance(conv, nn.Conv2d)
        height, width = 2 * height, 2 * width
        macs += height * width * conv.weight.numel()
    return macs + height * width * generator.to_image.weight.numel()
