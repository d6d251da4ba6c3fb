"""Heads on a few RoIs at a time, for runtimes with fixed sizes whose loops may end early."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from keras import ops

from kmrcnn.roi.packing import PackedRoIs
from kmrcnn.structures.lowering import Lowering
from kmrcnn.structures.typing import Tensor


def in_blocks(
    predict: Callable,
    packed: PackedRoIs,
    values: Sequence[Tensor],
    valid: Tensor,
    shapes: dict[str, tuple[int, ...]],
    lowering: Lowering,
    side: int,
) -> dict[str, Tensor]:
    """What `predict` says of the RoIs: of all at once, or block by block up to the last valid one.

    Args:
        predict: (PackedRoIs of n boxes, *values of n rows) -> {name: (n, ...) float32}.
        packed: N RoIs; all slots, if there are to be blocks.
        values: (N, ...) each: what else `predict` takes.
        valid: (B, R) bool.
        shapes: {name: shape of a row of what `predict` returns}.
        lowering: Its `block_cells` asks for blocks.
        side: P, of the RoI features.

    Returns:
        {name: (N, ...)}; 0 in blocks without a valid RoI.
    """
    if lowering.block_cells is None:
        return predict(packed, *values)
    size = max(1, lowering.block_cells // side**2)
    rows = [_split(v, size) for v in (packed.boxes, packed.batch_indices, *values)]
    number = rows[0].shape[0]
    slots = ops.arange(1, packed.boxes.shape[0] + 1, dtype="int32")
    last = ops.max(ops.where(ops.reshape(valid, (-1,)), slots, 0))

    def add_block(index, *totals):
        boxes, batch_indices, *others = (ops.take(v, index, axis=0) for v in rows)
        found = predict(PackedRoIs(boxes, batch_indices, None), *others)
        pairs = zip(shapes, totals, strict=True)
        return (index + 1, *(_put(found[name], total, index) for name, total in pairs))

    start = [ops.zeros((number, size, *shape), "float32") for shape in shapes.values()]
    _, *totals = ops.while_loop(
        lambda index, *_: index * size < last, add_block, (ops.zeros((), "int32"), *start)
    )
    joined = (ops.reshape(v, (number * size, *v.shape[2:])) for v in totals)
    return {name: v[: packed.boxes.shape[0]] for name, v in zip(shapes, joined)}


def _split(values: Tensor, size: int) -> Tensor:
    """(blocks, size, ...) from (N, ...); zeros fill the last block."""
    number = values.shape[0]
    blocks = -(-number // size)
    padding = [(0, blocks * size - number)] + [(0, 0)] * (len(values.shape) - 1)
    return ops.reshape(ops.pad(values, padding), (blocks, size, *values.shape[1:]))


def _put(block: Tensor, total: Tensor, index: Tensor) -> Tensor:
    """`total` (blocks, size, ...) with one block replaced."""
    here = ops.arange(total.shape[0], dtype="int32") == index
    return ops.where(ops.reshape(here, (-1,) + (1,) * len(block.shape)), block[None], total)
