"""State dicts whose weights are stored as factors: pruning, weight norm and spectral norm, multiplied out.

Names are those of `torch.nn.utils.prune`, of `weight_norm` and `spectral_norm` in `torch.nn.utils`, and of
`torch.nn.utils.parametrizations`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from dfad_core.contract.errors import TeacherRejected

PARAMETRIZATIONS = ".parametrizations."
MOST_GROWTH = 4
"""Size of all products at most, in units of what the file holds."""
Product = Callable[..., Tensor]


def _masked(original: Tensor, mask: Tensor) -> Tensor:
    if original.shape != mask.shape:
        raise ValueError("a mask of another shape")
    return original * mask.to(original.dtype)


def _weight_norm(g: Tensor, v: Tensor) -> Tensor:
    """g v / |v|, with |v| over the dimensions in which g has length 1 (arXiv 1602.07868, equation 2)."""
    length: Tensor
    if g.dim() == 0:
        length = torch.linalg.vector_norm(v)
        return g * (v / length)
    if g.dim() != v.dim() or any(a not in (1, b) for a, b in zip(g.shape, v.shape, strict=True)):
        raise ValueError("a norm of another shape")
    dims = [number for number, side in enumerate(g.shape) if side == 1]
    length = torch.linalg.vector_norm(v, dim=dims, keepdim=True) if dims else v.abs()
    return g * (v / length)


def _spectral_norm(original: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """W / (u^T W v), with W as a matrix of the rows of u (arXiv 1802.05957, equation 19)."""
    if original.dim() < 2 or u.shape != original.shape[:1] or v.dim() != 1:
        raise ValueError("vectors of another size")
    if v.numel() * len(u) != original.numel():
        raise ValueError("vectors of another size")
    return original / torch.dot(u, original.flatten(1) @ v)


_KINDS: tuple[tuple[str, tuple[str, ...], Product], ...] = (
    ("pruning", ("{0}{1}_orig", "{0}{1}_mask"), _masked),
    ("spectral norm", ("{0}{1}_orig", "{0}{1}_u", "{0}{1}_v"), _spectral_norm),
    ("weight norm", ("{0}{1}_g", "{0}{1}_v"), _weight_norm),
    ("pruning", ("{0}parametrizations.{1}.original", "{0}parametrizations.{1}.0.mask"), _masked),
    (
        "spectral norm",
        tuple(f"{{0}}parametrizations.{{1}}.{part}" for part in ("original", "0._u", "0._v")),
        _spectral_norm,
    ),
    ("weight norm", ("{0}parametrizations.{1}.original0", "{0}parametrizations.{1}.original1"), _weight_norm),
)
"""Kind, names of the factors (module with its dot, parameter), and how they give the parameter."""


def multiplied_out(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors under the names of the plain network, and a note where there were factors.

    All of them must hold each of their values (`check_layouts`). Raises TeacherRejected
    (`unsupported_parametrization`) for factors of another kind, or that do not fit each other, and
    (`structure_limit`) for products of many times the file's own size.
    """
    plain, kinds = dict(tensors), set[str]()
    room = MOST_GROWTH * _stored_bytes(tensors.values())
    for kind, patterns, product in _KINDS:
        for module, parameter in _places(tensors, patterns[0]):
            names = [pattern.format(module, parameter) for pattern in patterns]
            if all(name in plain for name in names):
                factors = [plain.pop(name) for name in names]
                product_tensor = _product(product, factors, f"{module}{parameter}")
                room -= product_tensor.numel() * product_tensor.element_size()
                if room < 0:
                    raise TeacherRejected(
                        "The weights are many times as large as the file.", code="structure_limit"
                    )
                plain[f"{module}{parameter}"] = product_tensor
                kinds.add(kind)
    rest = next((name for name in plain if PARAMETRIZATIONS in f".{name}"), None)
    if rest is not None:
        raise _refused(rest)
    notes = [f"multiplied out: {', '.join(sorted(kinds))}"] if kinds else []
    return plain, notes


def _stored_bytes(tensors: Iterable[Tensor]) -> int:
    """Memory of the storages: several tensors may share one."""
    storages = {s.data_ptr(): s.nbytes() for s in (tensor.untyped_storage() for tensor in tensors)}
    return sum(storages.values())


def _places(tensors: Mapping[str, Tensor], pattern: str) -> list[tuple[str, str]]:
    """Module (with its dot) and parameter of each name that has the form of `pattern`."""
    middle, _, end = pattern.removeprefix("{0}").partition("{1}")
    places = []
    for name in tensors:
        if not name.endswith(end):
            continue
        path = name[: len(name) - len(end)]
        module, _, parameter = path.rpartition(".")
        module = f"{module}." if module else ""
        if module.endswith(middle) and parameter:
            places.append((module[: len(module) - len(middle)], parameter))
    return places


def _product(product: Product, factors: Sequence[Tensor], name: str) -> Tensor:
    first = factors[0]
    if not first.is_floating_point():
        raise _refused(name)
    try:
        with torch.no_grad():
            wide = [factor.detach().to(torch.float32) for factor in factors]
            return product(*wide).to(first.dtype)
    except ValueError as error:
        raise _refused(name) from error


def _refused(name: str) -> TeacherRejected:
    text = (
        f"{name[:200]} is stored as factors that are not understood. Before saving, store the weight itself: "
        "torch.nn.utils.parametrize.remove_parametrizations(module, name), or prune.remove(module, name)."
    )
    return TeacherRejected(text, code="unsupported_parametrization", param=name[:200])
