"""Padded sets to dense ones and back: heads compute for real boxes only."""

from __future__ import annotations

from typing import NamedTuple

import keras
from keras import ops

from kmrcnn.structures.typing import Tensor


class PackedRoIs(NamedTuple):
    """The used slots of a padded set (B, R), in order.

    N is the number of valid boxes where the backend allows sizes that depend on values
    (TensorFlow), but at least 1; else B * R.
    """

    boxes: Tensor  # (N, 4) float32, xyxy, network frame
    batch_indices: Tensor  # (N,) int32
    slots: Tensor  # (N,) int32, index into the flattened (B * R)


def pack(boxes: Tensor, valid: Tensor) -> PackedRoIs:
    """Keep the valid boxes of (B, R, 4), given `valid` (B, R).

    Without any the first slot stays: TensorFlow's oneDNN convolutions fail on an empty batch where
    the number of channels changes, and batch norm would learn NaN from it.
    """
    number = ops.shape(boxes)[1]
    if keras.backend.backend() == "tensorflow":
        used = ops.reshape(valid, (-1,))
        first = ops.logical_and(ops.arange(ops.shape(used)[0]) == 0, ops.logical_not(ops.any(used)))
        slots = ops.cast(ops.nonzero(ops.logical_or(used, first))[0], "int32")
    else:
        slots = ops.arange(ops.shape(boxes)[0] * number, dtype="int32")
    flat = ops.take(ops.reshape(boxes, (-1, 4)), slots, axis=0)
    return PackedRoIs(flat, slots // number, slots)


def pack_values(values: Tensor, packed: PackedRoIs) -> Tensor:
    """(N, ...) from (B, R, ...): what belongs to the packed boxes."""
    rest = tuple(values.shape[2:])
    return ops.take(ops.reshape(values, (-1,) + rest), packed.slots, axis=0)


def unpack(values: Tensor, packed: PackedRoIs, valid: Tensor) -> Tensor:
    """(B, R, ...) from (N, ...): unused slots are 0. `valid` is (B, R)."""
    batch, number = ops.shape(valid)[0], ops.shape(valid)[1]
    rest = tuple(values.shape[1:])
    shape = (batch * number,) + rest
    flat = ops.scatter(ops.expand_dims(packed.slots, -1), values, shape)
    values = ops.reshape(flat, (-1, valid.shape[1] or number) + rest)
    used = ops.reshape(valid, (-1, valid.shape[1] or number) + (1,) * len(rest))
    return ops.where(used, values, ops.zeros_like(values))
