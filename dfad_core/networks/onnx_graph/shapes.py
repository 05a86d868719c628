"""Operators that rearrange values, as functions of tensors. Shapes are lists or short tensors."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from dfad_core.networks.onnx_graph.emitter import fits

Ints = Sequence[int] | Tensor
Number = float | Tensor


def ints(numbers: Ints) -> list[int]:
    """`numbers` as Python integers."""
    return [int(n) for n in (numbers.flatten().tolist() if isinstance(numbers, Tensor) else numbers)]


def shape_of(x: Tensor) -> Tensor:
    """Shape of `x`, always on the CPU."""
    return torch.tensor(list(x.shape), dtype=torch.int64)


def size_of(x: Tensor) -> Tensor:
    """Number of values in `x`."""
    return torch.tensor(x.numel(), dtype=torch.int64)


def reshape(x: Tensor, shape: Ints, keep_zero: int = 0) -> Tensor:
    """`x` in a new shape: 0 stands for the old size unless `keep_zero`, -1 for the remaining size."""
    sizes = ints(shape)
    if not keep_zero:
        sizes = [x.shape[n] if size == 0 and n < x.dim() else size for n, size in enumerate(sizes)]
    return x.reshape(sizes)


def for_any_batch(
    given: list[int], given_once: list[int], made_once: list[int], batch: int, new_batch: int
) -> list[int] | None:
    """What a Reshape makes of a value of the shape `given`, whose batch is `new_batch`.

    `given_once` and `made_once` are the shapes at the batch size `batch` that the graph was written for. The
    batch is one axis of the value, or the outer or inner part of one; the result has -1 for the axis with it.
    None where the value has no batch.
    """
    if prod(given) * batch != prod(made_once) * new_batch or prod(given_once) != prod(made_once):
        return None
    changed = [axis for axis, (old, new) in enumerate(zip(given_once, given, strict=True)) if old != new]
    if len(changed) != 1:
        return None
    outside = prod(given_once[: changed[0]])
    inside = outside * given_once[changed[0]] // batch
    before = [prod(made_once[:axis]) for axis in range(len(made_once) + 1)]
    axes = range(len(made_once))
    alone = [axis for axis in axes if made_once[axis] == batch and before[axis] in (outside, inside)]
    # The last axis has features: a batch beside them is rather part of the axis before.
    outer = [axis for axis in axes[:-1] if before[axis] == outside and made_once[axis] % batch == 0]
    inner = [axis for axis in axes if before[axis + 1] == outside * batch and made_once[axis] % batch == 0]
    axis = (alone or outer or inner or [0])[0]
    return [*made_once[:axis], -1, *made_once[axis + 1 :]]


def flatten(x: Tensor, axis: int) -> Tensor:
    """`x` with two dimensions, split before `axis`."""
    axis = axis + x.dim() if axis < 0 else axis
    rows = 1
    for side in x.shape[:axis]:
        rows *= side
    return x.reshape(rows, -1)


def squeeze(x: Tensor, axes: Ints | None) -> Tensor:
    """`x` without its sizes of 1 at `axes`; None: without any size of 1."""
    return x.squeeze() if axes is None else x.squeeze(tuple(ints(axes)))


def dequantized(x: Tensor, scale: Tensor, zero: Tensor | None, axis: int) -> Tensor:
    """(x - zero) scale, with one scale for all, or one for each position along `axis`."""
    sides = [1] * x.dim()
    if scale.numel() > 1:
        sides[axis] = -1
    shifted = x if zero is None else x - zero.reshape(sides if zero.numel() > 1 else [])
    return shifted.float() * scale.reshape(sides if scale.numel() > 1 else [])


def unsqueeze(x: Tensor, axes: Ints) -> Tensor:
    """`x` with sizes of 1 at `axes` of the result."""
    new_axes = ints(axes)
    rank = x.dim() + len(new_axes)
    for axis in sorted(a + rank if a < 0 else a for a in new_axes):
        x = x.unsqueeze(axis)
    return x


def concat(parts: Sequence[Tensor], axis: int) -> Tensor:
    """Concatenation along `axis`; a part with a batch of 1 is repeated for the whole batch."""
    device = next((p.device for p in parts if p.is_floating_point()), parts[0].device)
    parts = [p.to(device) for p in parts]
    batch = max((p.shape[0] for p in parts if p.dim() > 1), default=1)
    if axis % max(parts[0].dim(), 1) != 0 and any(p.shape[0] != batch for p in parts):
        parts = [p.expand(batch, *p.shape[1:]) if p.shape[0] == 1 else p for p in parts]
    return torch.cat(list(parts), axis)


def split(x: Tensor, sizes: Ints, axis: int) -> tuple[Tensor, ...]:
    """Pieces of `x` with these sizes along `axis`."""
    return torch.split(x, ints(sizes), axis)


def strided(x: Tensor, starts: Ints, ends: Ints, axes: Ints | None, steps: Ints | None) -> Tensor:
    """`x[start:end:step]` along each axis; steps may be negative, as in ONNX."""
    first, last = ints(starts), ints(ends)
    along = list(range(len(first))) if axes is None else ints(axes)
    by = [1] * len(first) if steps is None else ints(steps)
    for begin, end, axis, step in zip(first, last, along, by, strict=True):
        chosen = range(x.shape[axis])[slice(begin, _end(end, step, x.shape[axis]), step)]
        if step > 0:
            index = [slice(None)] * x.dim()
            index[axis] = slice(chosen.start, chosen.stop, step)
            x = x[tuple(index)]
        else:
            x = x.index_select(axis, torch.tensor(list(chosen), dtype=torch.int64, device=x.device))
    return x


def _end(end: int, step: int, side: int) -> int | None:
    # In Python an end of -1 is the last element; a backward slice down to the first element needs None.
    return None if step < 0 and end < -side else end


def gather(x: Tensor, index: Tensor, axis: int) -> Tensor:
    """Slices of `x` along `axis` at the positions `index`, arranged in the shape of `index`."""
    axis = axis + x.dim() if axis < 0 else axis
    x = x.to("meta") if index.is_meta else x
    index = index.to(device=x.device, dtype=torch.int64)
    index = torch.where(index < 0, index + x.shape[axis], index)
    slices = x.index_select(axis, index.reshape(-1))
    return slices.reshape([*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]])


def gather_from_each(x: Tensor, index: Tensor, numbers: int) -> Tensor:
    """From a row of images of so many numbers each: those at the positions `index` of every image."""
    positions = index.reshape(-1).to(device=x.device, dtype=torch.int64)
    return x.reshape(-1, numbers).index_select(1, positions).reshape(-1, *index.shape)


def gather_nd(x: Tensor, index: Tensor) -> Tensor:
    """Parts of `x` at the positions in the last dimension of `index`. Raises ValueError."""
    return x[_positions(x, index)] if not index.is_meta else x.to("meta")[_positions(x, index)]


def scatter_nd(x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
    """`x` with `updates` at the positions in the last dimension of `index`. Raises ValueError."""
    written = x.to("meta") if index.is_meta else x.clone()
    written[_positions(x, index)] = updates.to(written.device)
    return written


def scatter_elements(x: Tensor, index: Tensor, updates: Tensor, axis: int) -> Tensor:
    """`x` with each of `updates` at its position along `axis`; negative ones count from the end."""
    index = index.to(torch.int64)
    index = torch.where(index < 0, index + x.shape[axis], index)
    return torch.scatter(x.to(index.device), axis, index, updates.to(index.device))


def _positions(x: Tensor, index: Tensor) -> tuple[Tensor, ...]:
    """The last dimension of `index` as one tensor for each of the first dimensions of `x`."""
    if index.dim() < 1 or not 1 <= index.shape[-1] <= x.dim():  # before there are so many tensors
        raise ValueError("the positions have more dimensions than the tensor")
    device = "meta" if index.is_meta else x.device
    return index.to(device=device, dtype=torch.int64).unbind(-1)


def expand(x: Tensor, shape: Ints) -> Tensor:
    """`x` broadcast to the common shape of both."""
    common = torch.broadcast_shapes(x.shape, ints(shape))  # type: ignore[no-untyped-call]
    return x.expand(fits(list(common)))


def tile(x: Tensor, repeats: Ints) -> Tensor:
    """`x` repeated this many times along each axis."""
    times = ints(repeats)
    fits([side * n for side, n in zip(x.shape, times, strict=True)])
    return x.repeat(times)


def full(shape: Ints, value: float, integer: bool) -> Tensor:
    """Tensor with one value everywhere."""
    return torch.full(fits(ints(shape)), value, dtype=torch.int64 if integer else torch.float32)


def arange(begin: Number, end: Number, step: Number, dtype: torch.dtype) -> Tensor:
    """Numbers from `begin` up to, not including, `end`; each a number or a tensor that holds one."""
    numbers = [n.item() if isinstance(n, Tensor) else n for n in (begin, end, step)]
    fits([int(abs((numbers[1] - numbers[0]) / numbers[2])) + 1])
    return torch.arange(*numbers, dtype=dtype)


def pad(x: Tensor, pads: Ints, mode: str, value: float, axes: Ints | None) -> Tensor:
    """Padding of `x`; `pads` are the amounts before each axis, then those after each axis."""
    amounts = ints(pads)
    half = len(amounts) // 2
    along = range(half) if axes is None else [a % x.dim() for a in ints(axes)]
    both = {axis: (amounts[n], amounts[half + n]) for n, axis in enumerate(along)}
    fits([side + sum(both.get(n, (0, 0))) for n, side in enumerate(x.shape)])
    pairs = [both.get(n, (0, 0)) for n in range(x.dim())]
    while mode != "constant" and pairs and pairs[0] == (0, 0):
        pairs = pairs[1:]  # PyTorch mirrors the last dimensions alone
    flat = [n for pair in reversed(pairs) for n in pair]
    if mode == "constant":
        return F.pad(x, flat, value=value)
    return F.pad(x, flat, mode={"reflect": "reflect", "edge": "replicate", "wrap": "circular"}[mode])


def depth_to_space(x: Tensor, block: int, mode: str) -> Tensor:
    """Rearrangement of channels to blocks of pixels."""
    b, c, h, w = x.shape
    if mode == "CRD":
        return F.pixel_shuffle(x, block)
    x = x.reshape(b, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(b, c // block**2, h * block, w * block)


def space_to_depth(x: Tensor, block: int) -> Tensor:
    """Rearrangement of blocks of pixels to channels."""
    b, c, h, w = x.shape
    x = x.reshape(b, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(b, c * block**2, h // block, w // block)


def from_columns(x: Tensor, size: Ints, block: Ints, window: Sequence[Sequence[int]]) -> Tensor:
    """Images (B, C, H, W) of `size`: sums of blocks, the columns of `x` (B, C x block, columns).

    `window`: dilations, pads at the begin of each axis, strides.
    """
    fits([x.shape[0], x.shape[1], *ints(size)])
    dilations, pads, strides = window
    return F.fold(x, _pair(ints(size)), _pair(ints(block)), _pair(dilations), _pair(pads), _pair(strides))


def _pair(numbers: Sequence[int]) -> tuple[int, int]:
    first, second = numbers
    return first, second
