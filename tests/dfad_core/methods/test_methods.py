import pytest
import torch

from dfad_core.contract.config import MethodConfig
from dfad_core.errors import ConfigError
from dfad_core.methods import PRESETS, Recipe, build_objective, resolve_recipe
from dfad_core.methods.terms import BNStatistics, GeneratorView
from dfad_core.networks.batch_norm import bn_layers


def test_unknown_method() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_recipe(MethodConfig("nothing"), teacher_has_bn=True)
    assert caught.value.code == "unknown_method"


def test_the_job_overrides_the_preset_and_zero_switches_off() -> None:
    recipe = resolve_recipe(
        MethodConfig("auto", bn_weight=0, activation_weight=2.5, interpolation_labels="interpolated"),
        teacher_has_bn=True,
    )
    assert (recipe.bn_weight, recipe.activation_weight) == (0, 2.5)
    assert recipe.interpolation_labels == "interpolated"
    assert recipe.interpolation_weight == PRESETS["auto"]().interpolation_weight


def test_no_bn_term_where_there_is_no_bn() -> None:
    assert resolve_recipe(MethodConfig("dfad", bn_weight=3.0), teacher_has_bn=False).bn_weight == 0
    assert resolve_recipe(MethodConfig("dfad", bn_weight=3.0), teacher_has_bn=True).bn_weight == 3


def test_the_game_holds_signs_and_leaves_out_zero_weights(tiny) -> None:
    teacher = tiny.classifier(4)
    game = build_objective(Recipe(), teacher, tiny.classifier(4, seed=1), torch.zeros(2, 1, 8, 8))
    assert [(w, t.name) for w, t in game.generator_terms] == [(-1, "discrepancy")]
    assert [(w, t.name) for w, t in game.student_terms] == [(1, "student_discrepancy")]
    full = build_objective(
        Recipe(
            activation_weight=0.1,
            interpolation_weight=0.5,
            interpolation_labels="requeried",
            bn_weight=2.0,
            one_hot_weight=3.0,
            class_entropy_weight=4.0,
        ),
        teacher,
        tiny.classifier(4, seed=1),
        torch.zeros(2, 1, 8, 8),
    )
    assert [(w, t.name) for w, t in full.generator_terms] == [
        (-1, "discrepancy"),
        (2, "bn_statistics"),
        (3, "one_hot"),
        (4, "class_entropy_gap"),
    ]
    assert [(w, t.name) for w, t in full.student_terms] == [
        (1, "student_discrepancy"),
        (0.1, "activation_boundary"),
        (0.5, "virtual_interpolation"),
    ]


def test_bn_statistics_by_hand(tiny) -> None:
    teacher = tiny.classifier(4).eval()
    first, _ = bn_layers(teacher)
    x = torch.randn(6, 1, 8, 8, requires_grad=True)
    term = BNStatistics(teacher)
    teacher(x)  # outside the listening: not recorded
    with term.listening():
        logits = teacher(x)
    value = term.value(GeneratorView(logits, logits))
    features = teacher[0](x)
    expected = (features.mean(dim=(0, 2, 3)) - first.running_mean).norm()
    expected = expected + (features.var(dim=(0, 2, 3), correction=0) - first.running_var).norm()
    second = teacher[3](teacher[2](teacher[1](features)))
    expected = expected + (second.mean(dim=(0, 2, 3)) - teacher[4].running_mean).norm()
    expected = expected + (second.var(dim=(0, 2, 3), correction=0) - teacher[4].running_var).norm()
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(value, x)
    assert gradient.abs().sum() > 0
    assert not any(m._forward_pre_hooks for m in teacher.modules())
