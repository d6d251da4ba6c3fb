"""Transposed convolution 2x2 with stride 2."""

import keras
from keras import ops

from kmrcnn.structures.typing import Tensor


class Deconv2x2(keras.layers.Layer):
    """Doubles height and width. Windows do not overlap, so it is one matrix product per pixel.

    Args:
        filters: Output channels.

    Call arguments:
        x: (N, h, w, C).

    Returns:
        (N, 2 * h, 2 * w, filters). The kernel has Keras's layout (2, 2, filters, C).
    """

    def __init__(self, filters: int, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters

    def build(self, input_shape):
        shape = (2, 2, self.filters, input_shape[-1])
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer="he_normal")
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, x):
        return interleave(self.subpixels(x))

    def subpixels(self, x: Tensor) -> Tensor:
        """(N, h, w, 2, 2, filters): the output before its pixels are put in place."""
        height, width, channels = x.shape[1:]
        matrix = ops.reshape(ops.transpose(self.kernel, (3, 0, 1, 2)), (channels, 4 * self.filters))
        x = ops.matmul(ops.reshape(x, (-1, channels)), ops.cast(matrix, x.dtype))
        x = ops.reshape(x, (-1, height, width, 2, 2, self.filters))
        return x + ops.cast(self.bias, x.dtype)

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        return (batch, height and 2 * height, width and 2 * width, self.filters)


def interleave(x: Tensor) -> Tensor:
    """(N, 2 * h, 2 * w, ...) from (N, h, w, 2, 2, ...)."""
    height, width, rest = x.shape[1], x.shape[2], tuple(x.shape[5:])
    axes = (0, 1, 3, 2, 4) + tuple(range(5, 5 + len(rest)))
    return ops.reshape(ops.transpose(x, axes), (-1, 2 * height, 2 * width) + rest)
