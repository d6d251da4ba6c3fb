"""What turns the features of a RoI into masks: convolutions, or fully connected layers (He et al.
2017, figure 4 and table 2e).
"""

from __future__ import annotations

from collections.abc import Iterator

import keras
from keras import ops

from kmrcnn.config.schema import MaskConfig
from kmrcnn.layers.conv_norm_act import ConvNormAct, NormSpec
from kmrcnn.layers.deconv import Deconv2x2, interleave
from kmrcnn.structures.typing import Tensor


class FCNMaskHead(keras.layers.Layer):
    """Convolutions, a 2x2 deconvolution and a 1x1 predictor.

    The predictor comes after the deconvolution but works pixel by pixel, so it is applied for the
    wanted channel only and before the pixels are put in place; the numbers are those of the usual
    order.

    Args:
        config: Layers.
        num_channels: Masks per RoI.

    Call arguments:
        x: (N, P, P, C), of the pooler.
        wanted: (N,) int32, the channel asked for, ignored if there is only one; None: all of them.

    Returns:
        Logits (N, M, M), or of all channels (N, M, M, num_channels); float32, M = 2 P.
    """

    computes_all = False  # where one channel is wanted

    def __init__(self, config: MaskConfig, num_channels: int, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.num_channels = num_channels
        norm = NormSpec(config.norm, config.norm_epsilon, config.norm_groups)
        self.convs = [
            ConvNormAct(config.channels, 3, norm=norm, name=f"conv{i}")
            for i in range(1, config.num_convs + 1)
        ]
        self.deconv = Deconv2x2(config.channels, name="deconv")
        self.logits = ConvNormAct(
            num_channels,
            1,
            relu=False,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.001),
            name="logits",
        )

    def build(self, x_shape, wanted_shape=None):
        channels = x_shape[-1]
        for conv in self.convs:
            conv.build((None, None, None, channels))
            channels = conv.filters
        self.deconv.build((None, None, None, channels))
        self.logits.build((None, None, None, self.deconv.filters))

    def call(self, x, wanted=None, training=None):
        for conv in self.convs:
            x = conv(x, training=training)
        x = ops.relu(self.deconv.subpixels(x))  # (N, P, P, 2, 2, C)
        values = self._all_channels(x) if wanted is None else self._one_channel(x, wanted)
        return interleave(ops.cast(values, "float32"))

    def _all_channels(self, x):
        kernel = ops.cast(self.logits.kernel[0, 0], x.dtype)  # (C, channels)
        # On two axes: a broadcasting product damages the heap in TensorFlow 2.21 (issue 117700).
        values = ops.matmul(ops.reshape(x, (-1, x.shape[-1])), kernel)
        values = ops.reshape(values, (-1,) + tuple(x.shape[1:-1]) + (kernel.shape[1],))
        return values + ops.cast(self.logits.bias, x.dtype)

    def _one_channel(self, x, wanted):
        if self.num_channels == 1:
            return self._all_channels(x)[..., 0]
        kernels = ops.take(ops.transpose(self.logits.kernel[0, 0]), wanted, axis=0)  # (N, C)
        biases = ops.take(self.logits.bias, wanted)  # (N,)
        pixels = ops.reshape(x, (-1, x.shape[1] * x.shape[2] * 4, x.shape[5]))  # (N, P * P * 4, C)
        values = ops.matmul(pixels, ops.cast(kernels, x.dtype)[..., None])[..., 0]
        values = values + ops.cast(biases, x.dtype)[:, None]
        return ops.reshape(values, (-1,) + tuple(x.shape[1:5]))

    def compute_output_shape(self, x_shape, wanted_shape=None):
        return _output_shape(x_shape, wanted_shape, self.num_channels)

    def uses(self, side: int) -> Iterator[tuple[keras.layers.Layer, int]]:
        """Each layer and the output pixels it computes for a RoI of `side` x `side` features."""
        for conv in self.convs:
            yield conv, side**2
        yield self.deconv, 4 * side**2
        yield self.logits, 4 * side**2


class MLPMaskHead(keras.layers.Layer):
    """Fully connected layers: the alternatives "MLP" and "MLP+" of table 2e.

    Args:
        config: Layers.
        num_channels: Masks per RoI.

    Call arguments:
        x: (N, P, P, C), of the pooler.
        wanted: (N,) int32, the channel asked for, ignored if there is only one; None: all of them.

    Returns:
        Logits (N, M, M), or of all channels (N, M, M, num_channels); float32, M = 2 P.
    """

    computes_all = True  # also where one channel is wanted

    def __init__(self, config: MaskConfig, num_channels: int, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.num_channels = num_channels
        self.fcs = [
            keras.layers.Dense(
                config.fc_channels, "relu", kernel_initializer="he_normal", name=f"fc{i}"
            )
            for i in range(1, config.num_fcs + 1)
        ]
        self.logits = None  # how many there are depends on the side of the features

    def build(self, x_shape, wanted_shape=None):
        height, width, channels = x_shape[1:]
        self.logits = keras.layers.Dense(
            self.num_channels * 4 * height * width,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.001),
            name="logits",
        )
        channels *= height * width
        for fc in self.fcs:
            fc.build((None, channels))
            channels = fc.units
        self.logits.build((None, channels))

    def call(self, x, wanted=None, training=None):
        height, width = x.shape[1:3]
        x = ops.reshape(x, (-1, height * width * x.shape[3]))  # (N, P * P * C)
        for fc in self.fcs:
            x = fc(x)
        shape = (-1, self.num_channels, 2 * height, 2 * width)
        values = ops.reshape(ops.cast(self.logits(x), "float32"), shape)
        if wanted is None:
            return ops.transpose(values, (0, 2, 3, 1))
        if self.num_channels == 1:
            return values[:, 0]
        return _pick(values, wanted)

    def compute_output_shape(self, x_shape, wanted_shape=None):
        return _output_shape(x_shape, wanted_shape, self.num_channels)

    def uses(self, side: int) -> Iterator[tuple[keras.layers.Layer, int]]:
        """Each layer and its output rows for a RoI: one, whatever its `side`."""
        for layer in (*self.fcs, self.logits):
            yield layer, 1


def _pick(values: Tensor, wanted: Tensor) -> Tensor:
    """Channel `wanted` (N,) of values (N, channels, M, M)."""
    return ops.take_along_axis(values, wanted[:, None, None, None], axis=1)[:, 0]


def _output_shape(x_shape, wanted_shape, num_channels):
    batch, height, width = x_shape[:3]
    channels = () if wanted_shape is not None else (num_channels,)
    return (batch, 2 * height, 2 * width, *channels)
