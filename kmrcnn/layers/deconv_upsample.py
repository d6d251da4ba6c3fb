"""Transposed convolution 4x4 with stride 2, and the bilinear doubling that follows it in keypoint
heads.
"""

import keras
from keras import ops

from kmrcnn.structures.typing import Tensor


class Deconv4x4(keras.layers.Layer):
    """Doubles height and width; windows overlap, and a pixel is cut off on every side.

    Args:
        filters: Output channels.

    Call arguments:
        x: (N, h, w, C).

    Returns:
        (N, 2 * h, 2 * w, filters). The kernel has Keras's layout (4, 4, filters, C).
    """

    def __init__(self, filters: int, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters

    def build(self, input_shape):
        # PyTorch counts the inputs of a transposed convolution as its fan out, and so starts with
        # the same deviation.
        initializer = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
        shape = (4, 4, self.filters, input_shape[-1])
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=initializer)
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, x):
        kernel = ops.cast(self.kernel, x.dtype)
        x = ops.conv_transpose(x, kernel, strides=2, padding="same")
        return x + ops.cast(self.bias, x.dtype)

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        return (batch, height and 2 * height, width and 2 * width, self.filters)


def double(maps: Tensor) -> Tensor:
    """(N, 2 * h, 2 * w, C) from (N, h, w, C), bilinear at half-pixel centres, edges repeated."""
    size = (2 * maps.shape[1], 2 * maps.shape[2])
    return ops.image.resize(maps, size, "bilinear", antialias=False, data_format="channels_last")
