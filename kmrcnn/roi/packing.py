"""Padded sets to dense ones and back: heads compute for real boxes only."""

from __future__ import annotations

from typing import NamedTuple

import keras
from keras import ops

from kmrcnn.structures.typing import Tensor


class PackedRoIs(NamedTuple):
    """The used slots of a padded set (B, R), in order.

    N is the number of valid boxes, but at least 1; or B * R where all slots are kept.
    """

    boxes: Tensor  # (N, 4) float32, xyxy, network frame
    batch_indices: Tensor  # (N,) int32
    slots: Tensor | None  # (N,) int32, index into the flattened (B * R); None: all of them


def pack(boxes: Tensor, valid: Tensor, static: bool = False) -> PackedRoIs:
    """Keep the valid boxes of (B, R, 4), given `valid` (B, R).

    Without any the first slot stays: TensorFlow's oneDNN convolutions fail on an empty batch where
    the number of channels changes, and batch norm would learn NaN from it.

    Args:
        boxes: (B, R, 4).
        valid: (B, R) bool.
        static: Keep all slots, as backends do for which no size may depend on values (all but
            TensorFlow).
    """
    batch, number = ops.shape(boxes)[0], ops.shape(boxes)[1]
    flat = ops.reshape(boxes, (-1, 4))
    if static or keras.backend.backend() != "tensorflow":
        images = ops.repeat(ops.arange(batch, dtype="int32"), number)
        return PackedRoIs(flat, images, None)
    used = ops.reshape(valid, (-1,))
    first = ops.logical_and(ops.arange(ops.shape(used)[0]) == 0, ops.logical_not(ops.any(used)))
    slots = ops.cast(ops.nonzero(ops.logical_or(used, first))[0], "int32")
    return PackedRoIs(ops.take(flat, slots, axis=0), slots // number, slots)


def pack_values(values: Tensor, packed: PackedRoIs) -> Tensor:
    """(N, ...) from (B, R, ...): what belongs to the packed boxes."""
    flat = ops.reshape(values, (-1,) + tuple(values.shape[2:]))
    return flat if packed.slots is None else ops.take(flat, packed.slots, axis=0)


def unpack(values: Tensor, packed: PackedRoIs, valid: Tensor) -> Tensor:
    """(B, R, ...) from (N, ...): unused slots are 0. `valid` is (B, R)."""
    batch, number = ops.shape(valid)[0], ops.shape(valid)[1]
    rest = tuple(values.shape[1:])
    if packed.slots is not None:
        shape = (batch * number,) + rest
        values = ops.scatter(ops.expand_dims(packed.slots, -1), values, shape)
    values = ops.reshape(values, (-1, valid.shape[1] or number) + rest)
    used = ops.reshape(valid, (-1, valid.shape[1] or number) + (1,) * len(rest))
    return ops.where(used, values, ops.zeros((), values.dtype))
