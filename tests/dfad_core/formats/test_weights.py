"""Numbers that a teacher's file may hold, and those that it may not."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dfad_core.contract.errors import TeacherRejected
from dfad_core.formats import load_teacher
from dfad_core.networks import build_classifier


def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return build_classifier("cnn8", num_classes=3, input_shape=(1, 8, 8), args={"width": 2}).state_dict()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn])
def test_other_precisions_become_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    stored = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state().items()}
    torch.save(stored, tmp_path / "x")
    loaded = load_teacher(tmp_path / "x").module.state_dict()
    assert {v.dtype for v in loaded.values()} == {torch.float32, torch.int64}
    for name, value in stored.items():
        torch.testing.assert_close(loaded[name], value.to(loaded[name].dtype))


def test_channels_last_and_views_are_welcome(tmp_path: Path) -> None:
    stored = {k: v.contiguous(memory_format=torch.channels_last) if v.dim() == 4 else v
              for k, v in state().items()}  # fmt: skip
    stored["bn1.bias"] = torch.arange(6.0)[::3]
    torch.save(stored, tmp_path / "x")
    loaded = load_teacher(tmp_path / "x").module.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in stored.items())


@pytest.mark.parametrize(
    ("name", "change", "code", "words"),
    [
        ("linear.bias", lambda t: t.double() + 1e300, "nonfinite_weights", "infinite"),
        ("conv1.weight", lambda t: t / 0, "nonfinite_weights", "infinite"),
        ("bn2.running_var", lambda t: -t, "nonfinite_weights", "negative variances"),
        ("linear.weight", lambda t: t.to(torch.complex64), "tensor_layout", "complex64"),
        ("linear.weight", lambda t: (100 * t).to(torch.int8), "tensor_layout", "int8"),
        ("linear.weight", lambda t: t > 0, "tensor_layout", "bool"),
        ("linear.weight", lambda t: torch.ones(1, 1).expand_as(t), "tensor_layout", "repeats"),
        ("linear.weight", lambda t: t.to_sparse_csr(), "tensor_layout", "dense"),
        ("linear.weight", lambda t: t.to("meta"), "tensor_layout", "dense"),
    ],
    ids=["overflow", "infinite", "variance", "complex", "int8", "bool", "stride-0", "csr", "meta"],
)
@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_refused(
    tmp_path: Path, name: str, change: Callable[[Tensor], Tensor], code: str, words: str
) -> None:
    changed = state()
    changed[name] = change(changed[name])
    torch.save(changed, tmp_path / "x")
    with pytest.raises(TeacherRejected) as caught:
        load_teacher(tmp_path / "x", architecture="cnn8", args={"width": 2})
    assert (caught.value.code, caught.value.param) == (code, name)
    assert words in caught.value.message
