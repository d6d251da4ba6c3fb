"""Non-local block (Wang et al. 2018, equation 6, embedded Gaussian)."""

from __future__ import annotations

import keras
from keras import ops

from kmrcnn.layers.conv_norm_act import ConvNormAct


class NonLocalBlock(keras.layers.Layer):
    """Every position looks at every other: z = x + W softmax(theta(x)^T phi(x)) g(x).

    W begins at 0, so that a pretrained network is unchanged where the block is put in. The weights
    of all pairs of positions are in memory at once: (H W)^2 numbers for each image.

    Args:
        **kwargs: Of `keras.layers.Layer`.

    Call arguments:
        x: (B, H, W, C); theta, phi and g make C / 2 channels of it.
        training: Not used; residual blocks have it.

    Returns:
        (B, H, W, C).
    """

    strides = 1  # as residual blocks have it, among which this one stands
    shortcut = None

    def build(self, input_shape):
        self.channels = input_shape[-1]
        inner = max(self.channels // 2, 1)
        self.convs = [ConvNormAct(inner, 1, relu=False, name=n) for n in ("theta", "phi", "g")]
        for conv in self.convs:
            conv.build(input_shape)
        last = ConvNormAct(self.channels, 1, relu=False, kernel_initializer="zeros", name="output")
        last.build((*input_shape[:3], inner))
        self.convs.append(last)

    def call(self, x, training=None):
        batch, height, width = ops.shape(x)[:3]
        theta, phi, g = (
            ops.reshape(conv(x), (batch, -1, conv.filters)) for conv in self.convs[:3]
        )  # (B, H * W, C / 2)
        similarities = ops.matmul(theta, ops.transpose(phi, (0, 2, 1)))  # (B, H * W, H * W)
        weights = ops.softmax(ops.cast(similarities, "float32"), axis=-1)
        seen = ops.matmul(ops.cast(weights, g.dtype), g)
        seen = ops.reshape(seen, (batch, height, width, g.shape[-1]))
        return x + self.convs[3](seen)

    def compute_output_shape(self, input_shape):
        return input_shape
