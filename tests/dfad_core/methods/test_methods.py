import contextlib
import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from dfad_core.contract.config import DistillConfig, InputConfig, MethodConfig, TrainingConfig
from dfad_core.contract.errors import ConfigError
from dfad_core.contract.methods import METHODS
from dfad_core.contract.recipe import Recipe
from dfad_core.methods import Objective, build_objective, resolve_recipe
from dfad_core.methods.gaps import gap_named
from dfad_core.methods.terms import GENERATOR_TERMS, STUDENT_TERMS, GeneratorView
from dfad_core.methods.terms.bn_statistics import BNStatistics
from dfad_core.methods.terms.contrast import Contrast
from dfad_core.networks.batch_norm import bn_layers


def _config(
    method: str, channels: int = 1, training: TrainingConfig | None = None, **weights: Any
) -> DistillConfig:
    return DistillConfig(
        InputConfig((channels, 8, 8)),
        method=MethodConfig(method, **weights),
        training=training or TrainingConfig(),
    )


def test_unknown_method() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_recipe(_config("nothing"), teacher_has_bn=True)
    assert caught.value.code == "unknown_method"


def test_the_job_overrides_the_method_and_zero_switches_off() -> None:
    recipe = resolve_recipe(
        _config("auto", bn_weight=0, activation_weight=2.5, interpolation_labels="interpolated"),
        teacher_has_bn=True,
    )
    assert (recipe.bn_weight, recipe.activation_weight) == (0, 2.5)
    assert recipe.interpolation_labels == "interpolated"
    assert recipe.interpolation_weight == METHODS["auto"].recipe.interpolation_weight


def test_amounts_of_the_job_replace_those_of_the_method() -> None:
    own = METHODS["fast"].recipe
    recipe = resolve_recipe(_config("fast", training=TrainingConfig(pool_batches=0)), teacher_has_bn=True)
    assert (recipe.student_steps, recipe.pool_batches, recipe.inner_steps) == (
        own.student_steps,
        0,
        own.inner_steps,
    )


@pytest.mark.parametrize(
    ("job", "student_has_bn", "optimizer", "rate"),
    [
        ({}, True, "sgd", 0.1),
        ({}, False, "adam", None),
        ({"student_optimizer": "adam"}, True, "adam", None),
        ({"student_optimizer": "sgd"}, False, "sgd", None),
        ({"student_learning_rate": 0.02}, True, "sgd", 0.02),
        ({"student_optimizer": "adam", "student_learning_rate": 0.02}, True, "adam", 0.02),
    ],
)
def test_the_students_optimizer(
    job: dict[str, Any], student_has_bn: bool, optimizer: str, rate: float | None
) -> None:
    config = _config("collages", training=TrainingConfig(**job))
    recipe = resolve_recipe(config, teacher_has_bn=True, student_has_bn=student_has_bn)
    assert (recipe.student_optimizer, recipe.student_learning_rate) == (optimizer, rate)


def test_no_bn_term_where_there_is_no_bn() -> None:
    assert resolve_recipe(_config("dfad", bn_weight=3.0), teacher_has_bn=False).bn_weight == 0
    assert resolve_recipe(_config("dfad", bn_weight=3.0), teacher_has_bn=True).bn_weight == 3


def test_the_objective_holds_signs_and_leaves_out_zero_weights(tiny) -> None:
    networks = tiny.classifier(4), tiny.classifier(4, seed=1), torch.zeros(2, 1, 8, 8)
    plain = build_objective(Recipe(), *networks)
    assert [(w, t.name) for w, t in plain.generator_terms] == [(-1, "discrepancy")]
    assert [(w, t.name) for w, t in plain.student_terms] == [(1, "student_discrepancy")]
    recipe = Recipe(
        activation_weight=0.1,
        interpolation_weight=0.5,
        bn_weight=2.0,
        one_hot_weight=3.0,
        class_entropy_weight=4.0,
        feature_norm_weight=5.0,
    )
    full = build_objective(recipe, *networks)
    weights = {t.name: w for w, t in full.generator_terms}
    assert weights == {
        "discrepancy": -1,
        "bn_statistics": 2,
        "one_hot": 3,
        "class_entropy_gap": 4,
        "feature_norm": -5,
    }
    weights = {t.name: w for w, t in full.student_terms}
    assert weights == {"student_discrepancy": 1, "activation_boundary": 0.1, "virtual_interpolation": 0.5}


def test_every_weight_of_a_recipe_belongs_to_one_term_and_every_name_to_one() -> None:
    terms = [*GENERATOR_TERMS, *STUDENT_TERMS]
    fields = {f.name for f in dataclasses.fields(Recipe) if f.name.endswith("_weight")}
    assert sorted(term.weight_field for term in terms) == sorted(fields)
    assert len({term.name for term in terms}) == len(terms)


def test_terms_on_bn_are_left_out_where_the_teacher_has_none(tiny) -> None:
    recipe = Recipe(bn_weight=1.0, contrast_weight=1.0, one_hot_weight=1.0)
    objective = build_objective(
        recipe, tiny.classifier(4, bn=False), tiny.classifier(4), torch.zeros(2, 1, 8, 8)
    )
    assert {term.name for _, term in objective.generator_terms} == {"discrepancy", "one_hot"}


def generator_loss(images: torch.Tensor, objective: Objective, student: torch.nn.Module) -> dict[str, float]:
    """Every gap of the generator's loss by its term's name, as one update computes them."""
    with contextlib.ExitStack() as stack:
        for _, term in objective.generator_terms:
            stack.enter_context(term.recording())
        logits, _ = objective.ask_teacher(images)
        view = GeneratorView(student(images), logits, images)
        return {term.name: term.value(view).item() for _, term in objective.generator_terms}


def test_a_pass_of_one_term_does_not_reach_the_others(tiny) -> None:
    """Contrast shows the teacher other images; terms that read its layers must not see those."""
    teacher, student = tiny.classifier(4).eval(), tiny.classifier(4, seed=1).eval()
    images = torch.randn(6, 1, 8, 8)
    recipe = Recipe(bn_weight=1.0, feature_norm_weight=1.0)
    example = torch.zeros(2, 1, 8, 8)
    alone = generator_loss(images, build_objective(recipe, teacher, student, example), student)
    recipe = dataclasses.replace(recipe, contrast_weight=1.0)
    beside = generator_loss(images, build_objective(recipe, teacher, student, example), student)
    assert beside.pop("contrast") > 0
    assert beside == alone


def test_a_recipe_names_the_distance_of_the_bn_term(tiny) -> None:
    networks = tiny.classifier(4).eval(), tiny.classifier(4, seed=1), torch.zeros(2, 1, 8, 8)
    values = []
    for distance in ("norms", "divergence"):
        objective = build_objective(Recipe(bn_weight=1.0, bn_distance=distance), *networks)
        (term,) = (term for _, term in objective.generator_terms if term.name == "bn_statistics")
        with term.recording():
            logits = networks[0](torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
        values.append(term.value(GeneratorView(logits, logits)).item())
    assert values[0] != values[1]
    assert min(values) > 0


def test_bn_statistics_by_hand(tiny) -> None:
    teacher = tiny.classifier(4).eval()
    first, _ = bn_layers(teacher)
    x = torch.randn(6, 1, 8, 8, requires_grad=True)
    term = BNStatistics(teacher)
    teacher(x)  # outside the block: not recorded
    with term.recording():
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


def test_the_mean_divergence_is_that_of_torch_by_default() -> None:
    student, teacher = torch.randn(2, 4, 7, dtype=torch.float64)
    expected = F.kl_div(student.log_softmax(1), teacher.softmax(1), reduction="mean")
    assert gap_named("kl_mean")(student, teacher).item() == pytest.approx(expected.item())
    softened = gap_named("kl", 4.0)(student, teacher).item() / 7
    assert gap_named("kl_mean", 4.0)(student, teacher).item() == pytest.approx(softened)


@pytest.mark.parametrize("num_classes", [10, 100])
def test_attention_weighs_as_much_as_in_the_code_of_zskt(tiny, num_classes: int) -> None:
    """The ratio of both terms' weights does not depend on the number of classes, as it did with sums."""
    recipe = METHODS["zskt"].recipe
    objective = build_objective(recipe, tiny.classifier(4), tiny.classifier(4), torch.zeros(2, 1, 8, 8))
    weights = {term.name: weight for weight, term in objective.student_terms}
    assert weights == {"student_discrepancy": 1, "attention_transfer": 250}
    student, teacher = torch.randn(2, 6, num_classes)
    expected = F.kl_div(student.log_softmax(1), teacher.softmax(1), reduction="mean")
    value = gap_named(recipe.imitation, recipe.temperature)(student, teacher)
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)


def test_contrast_compares_random_parts_with_the_whole_images(tiny, monkeypatch) -> None:
    """The gradient reaches the images through the parts alone."""
    teacher = tiny.classifier(4).eval()
    images = torch.randn(6, 1, 8, 8, requires_grad=True)
    term = Contrast(teacher)

    def gradient() -> torch.Tensor:
        with term.recording():
            view = GeneratorView(None, teacher(images), images)
            (found,) = torch.autograd.grad(term.value(view), images, allow_unused=True)
        return found

    assert gradient().abs().sum() > 0
    name = "dfad_core.methods.terms.contrast.random_resized_crop"
    monkeypatch.setattr(name, lambda whole: whole.detach().requires_grad_())
    assert gradient() is None
