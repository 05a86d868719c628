"""Every loss by the same template: range, a value computed by hand, gradcheck, shared properties."""

import math

import pytest
import torch

from dfad_core.losses.activation_boundary import activation_boundary
from dfad_core.losses.agreed_divergence import agreed_divergence
from dfad_core.losses.attention_transfer import attention_map, attention_transfer
from dfad_core.losses.bn_statistics import bn_divergence, bn_statistics
from dfad_core.losses.class_entropy import class_entropy
from dfad_core.losses.contrast import contrast
from dfad_core.losses.discrepancy import discrepancy
from dfad_core.losses.divergence import divergence
from dfad_core.losses.feature_norm import feature_norm
from dfad_core.losses.jensen_shannon import jensen_shannon
from dfad_core.losses.one_hot import one_hot
from dfad_core.losses.squared_error import squared_error
from dfad_core.losses.total_variation import total_variation
from dfad_core.losses.virtual_interpolation import Mixing, mix, virtual_interpolation

B, K = 4, 3


def _draw(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


STUDENT, TEACHER = _draw(1, B, K), _draw(2, B, K)
ACTIVE = _draw(3, B, 2, 5, 5) > 0
RUNNING = (_draw(4, 6), _draw(5, 6).abs())

#: name -> (function of one differentiable tensor, an input for it)
CASES = {
    "discrepancy": (lambda x: discrepancy(x, TEACHER), STUDENT),
    "divergence": (lambda x: divergence(x, TEACHER, 4.0), STUDENT),
    "activation_boundary": (
        lambda x: activation_boundary([x], [ACTIVE], 1.0),
        _draw(6, B, 2, 5, 5),
    ),
    "virtual_interpolation": (lambda x: virtual_interpolation(x, TEACHER), STUDENT),
    "bn_statistics": (
        lambda x: bn_statistics([(x.mean(0), x.var(0, correction=0), *RUNNING)]),
        _draw(7, B, 6),
    ),
    "bn_divergence": (
        lambda x: bn_divergence([(x.mean(0), x.var(0, correction=0), *RUNNING)]),
        _draw(7, B, 6),
    ),
    "one_hot": (one_hot, STUDENT),
    "class_entropy": (class_entropy, STUDENT),
    "one_hot_wanted": (lambda x: one_hot(x, torch.arange(B) % K), STUDENT),
    "jensen_shannon": (lambda x: jensen_shannon(x, TEACHER), STUDENT),
    "agreed_divergence": (lambda x: agreed_divergence(x, TEACHER), 0.1 * STUDENT + TEACHER),
    "squared_error": (lambda x: squared_error(x, TEACHER), STUDENT),
    "feature_norm": (feature_norm, STUDENT),
    "total_variation": (total_variation, _draw(8, 2, 1, 4, 4)),
    "contrast": (lambda x: contrast(x, _draw(9, B, 6)), _draw(10, B, 6)),
    "attention_transfer": (
        lambda x: attention_transfer([attention_map(x)], [_draw(12, B, 9).abs()]),
        _draw(11, B, 2, 3, 3),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_is_an_unsigned_finite_scalar(name: str) -> None:
    function, x = CASES[name]
    value = function(x)
    assert value.shape == ()
    assert torch.isfinite(value)
    assert value >= 0


@pytest.mark.parametrize("name", CASES)
def test_gradient_is_that_of_the_value(name: str) -> None:
    function, x = CASES[name]
    assert torch.autograd.gradcheck(function, (x.clone().requires_grad_(),))


@pytest.mark.parametrize("name", [n for n in CASES if not n.startswith("bn_")])
def test_bfloat16_inputs_give_float32(name: str) -> None:
    function, x = CASES[name]
    value = function(x.bfloat16())
    assert value.dtype.itemsize >= 4
    assert value.item() == pytest.approx(function(x).item(), rel=0.05, abs=0.05)


def test_discrepancy_by_hand() -> None:
    value = discrepancy(torch.tensor([[1.0, 2.0], [0.0, -1.0]]), torch.tensor([[0.0, 4.0], [0.0, 0.0]]))
    assert value.item() == pytest.approx((1 + 2 + 0 + 1) / 4)


def test_divergence_by_hand() -> None:
    teacher, student = torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([[0.0, 0.0]])
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert divergence(student, teacher).item() == pytest.approx(expected, rel=1e-5)
    softened = divergence(2 * student, 2 * teacher, temperature=2.0)
    assert softened.item() == pytest.approx(4 * expected, rel=1e-5)
    assert divergence(teacher, teacher).item() == pytest.approx(0, abs=1e-7)


def test_activation_boundary_by_hand() -> None:
    adapted = torch.tensor([[2.0, 0.5, -0.5, -3.0]])
    active = torch.tensor([[True, True, True, False]])
    # past the margin: 0; inside it: 0.5^2; on the wrong side: 1.5^2; past it on the other side: 0
    first = (0 + 0.25 + 2.25 + 0) / 4
    assert activation_boundary([adapted], [active]).item() == pytest.approx(first)
    second = (1 + 1) / 2  # two units on the boundary
    both = activation_boundary([adapted, torch.zeros(1, 2)], [active, torch.zeros(1, 2) > 0])
    assert both.item() == pytest.approx((first + second) / 2)


def test_activation_boundary_wants_one_boolean_tensor_for_each_stage() -> None:
    with pytest.raises(ValueError, match="shorter"):
        activation_boundary([torch.zeros(1, 2)] * 2, [torch.zeros(1, 2) > 0])


def test_bn_statistics_by_hand() -> None:
    mean, var = torch.tensor([3.0, 4.0]), torch.tensor([1.0, 1.0])
    value = bn_statistics([(mean, var, torch.zeros(2), torch.tensor([1.0, 3.0]))] * 2)
    assert value.item() == pytest.approx(2 * (5 + 2))


def test_bn_divergence_by_hand() -> None:
    zero, one = torch.zeros(2), torch.ones(2)
    same = (zero, one, zero, one)
    assert bn_divergence([same]).item() == 0
    # The second channel: 0.5 (variance 2 of 1, mean 1 off: 2 + 1 - 1 - ln 2).
    layer = (torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0]), zero, one)
    expected = 0.5 * (2 - math.log(2)) / 2
    assert bn_divergence([layer]).item() == pytest.approx(expected)
    assert bn_divergence([layer, same]).item() == pytest.approx(expected / 2)
    assert math.isfinite(bn_divergence([(zero, zero, zero, zero)]).item())


def test_one_hot_by_hand() -> None:
    value = one_hot(torch.tensor([[math.log(3.0), 0.0]]))
    assert value.item() == pytest.approx(-math.log(0.75), rel=1e-6)
    assert one_hot(torch.zeros(5, 7)).item() == pytest.approx(math.log(7), rel=1e-6)


def test_class_entropy_by_hand() -> None:
    balanced = torch.tensor([[50.0, 0.0], [0.0, 50.0]])
    assert class_entropy(balanced).item() == pytest.approx(0, abs=1e-6)
    one_class = torch.tensor([[50.0, 0.0], [50.0, 0.0]])
    assert class_entropy(one_class).item() == pytest.approx(math.log(2), rel=1e-6)


def test_class_entropy_has_a_gradient_where_a_class_underflows() -> None:
    logits = torch.tensor([[300.0, 0.0], [300.0, 0.0]], requires_grad=True)
    class_entropy(logits).backward()
    assert torch.isfinite(logits.grad).all()


def test_mix_by_hand_keeps_dtype_and_layout() -> None:
    mixing = Mixing(torch.tensor([1, 2, 0]), torch.tensor([1.0, 0.25, 0.0]))
    mixed = mix(torch.tensor([[4.0], [8.0], [16.0]]), mixing)
    assert mixed.flatten().tolist() == [4.0, 0.25 * 8 + 0.75 * 16, 4.0]
    images = torch.randn(3, 2, 4, 4).to(torch.bfloat16, memory_format=torch.channels_last)
    mixed = mix(images, mixing)
    assert mixed.dtype == torch.bfloat16
    assert mixed.is_contiguous(memory_format=torch.channels_last)


def test_mixing_commutes_with_a_linear_network() -> None:
    mixing = Mixing(torch.tensor([2, 0, 1, 3]), torch.rand(4, dtype=torch.float64))
    x, weight = _draw(8, B, 5), _draw(9, 5, K)
    value = virtual_interpolation(mix(x, mixing) @ weight, mix(x @ weight, mixing))
    assert value.item() == pytest.approx(0, abs=1e-12)


def test_virtual_labels_carry_no_gradient() -> None:
    labels = TEACHER.clone().requires_grad_()
    virtual_interpolation(STUDENT.clone().requires_grad_(), labels).backward()
    assert labels.grad is None


def test_jensen_shannon_by_hand() -> None:
    p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 1e-9]])
    middle = (p + q) / 2
    nats = 0.5 * (p * (p / middle).log()).sum() + 0.5 * (q * (q / middle).log()).sum()
    value = jensen_shannon(q.log(), p.log(), temperature=1.0)
    assert value.item() == pytest.approx(nats.item() / math.log(2), rel=1e-4)


def test_jensen_shannon_ends_at_one() -> None:
    far = jensen_shannon(torch.tensor([[900.0, 0.0]]), torch.tensor([[0.0, 900.0]]))
    assert far.item() == pytest.approx(1.0)
    assert jensen_shannon(STUDENT, STUDENT).item() == pytest.approx(0, abs=1e-9)


def test_agreed_divergence_counts_only_agreement() -> None:
    teacher = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    student = torch.tensor([[1.0, 0.0], [0.0, 1.0]])  # agrees on the first image alone
    alone = divergence(student[:1], teacher[:1])
    assert agreed_divergence(student, teacher).item() == pytest.approx(alone.item() / 2)


def test_one_hot_of_wanted_classes_is_cross_entropy() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)]])
    assert one_hot(logits, torch.tensor([0])).item() == pytest.approx(math.log(4))
    assert one_hot(logits, torch.tensor([1])).item() == pytest.approx(math.log(4 / 3))


def test_squared_error_by_hand() -> None:
    value = squared_error(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 4.0]]))
    assert value.item() == 2.5


def test_feature_norm_by_hand() -> None:
    assert feature_norm(torch.tensor([[1.0, -3.0], [0.0, 4.0]])).item() == 2.0


def test_total_variation_by_hand() -> None:
    step = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])
    # sideways: two steps of 1; down: none; either diagonal: one.
    assert total_variation(step).item() == pytest.approx(math.sqrt(2) + 0 + 1 + 1, abs=1e-5)


def test_contrast_by_hand() -> None:
    eye = torch.eye(2)
    expected = -math.log(math.exp(10) / (math.exp(10) + 1))
    assert contrast(eye, eye).item() == pytest.approx(expected, rel=1e-2)
    assert contrast(eye, eye.flip(0)).item() == pytest.approx(10 + expected, rel=1e-4)


def test_attention_by_hand() -> None:
    features = torch.tensor([[[[3.0, 0.0]], [[0.0, 4.0]]]])  # two channels on two places
    length = math.hypot(9, 16)
    torch.testing.assert_close(attention_map(features), torch.tensor([[9 / length, 16 / length]]))
    value = attention_transfer([torch.tensor([[1.0, 0.0]])], [torch.tensor([[0.0, 1.0]])])
    assert value.item() == 1.0
