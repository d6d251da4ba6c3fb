"""Picking rows out of padded sets."""

import math

from keras import ops

from kmrcnn.structures.typing import Tensor


def take_rows(values: Tensor, index: Tensor) -> Tensor:
    """Rows (..., k, C) of sets (..., n, C), by indices (..., k) in 0..n-1.

    One gather from all sets together: `ops.take_along_axis` transposes, and repeats the index for
    every column.
    """
    leading = ops.shape(index)[:-1]
    number, columns = ops.shape(values)[-2], values.shape[-1]
    index = ops.cast(index, "int32")
    first = ops.reshape(ops.arange(math.prod(leading), dtype="int32") * number, (*leading, 1))
    return ops.take(ops.reshape(values, (-1, columns)), index + first, axis=0)
