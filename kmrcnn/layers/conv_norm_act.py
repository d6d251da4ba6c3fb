"""Convolution, normalisation, activation: the block every part of the network is made of."""

from __future__ import annotations

from typing import NamedTuple

import keras
from keras import ops

from kmrcnn.layers.frozen_batch_norm import FrozenBatchNorm
from kmrcnn.structures.typing import Tensor


class NormSpec(NamedTuple):
    """Which normalisation follows a convolution (fields of the configuration's `norm*`)."""

    name: str = "none"
    epsilon: float = 1e-5
    groups: int = 32


NO_NORM = NormSpec()


def make_norm(spec: NormSpec) -> keras.layers.Layer | None:
    """A normalisation layer over the last axis, called "norm"; None for "none".

    Batch norm's momentum is 0.9 in Keras's sense (0.1 in PyTorch's).
    """
    if spec.name == "none":
        return None
    if spec.name == "frozen_batch_norm":
        return FrozenBatchNorm(spec.epsilon, name="norm")
    if spec.name == "group_norm":
        return keras.layers.GroupNormalization(spec.groups, epsilon=spec.epsilon, name="norm")
    if spec.name in ("batch_norm", "sync_batch_norm"):
        return keras.layers.BatchNormalization(
            momentum=0.9,
            epsilon=spec.epsilon,
            synchronized=spec.name == "sync_batch_norm",
            name="norm",
        )
    raise ValueError(f"`norm` must be one of the names in `config.schema.Norm`. Received: {spec}")


class ConvNormAct(keras.layers.Layer):
    """2-D convolution with symmetric zero padding, optional normalisation, optional ReLU.

    Padding is (kernel_size - 1) // 2 * dilation on every side, as in the PyTorch systems:
    TensorFlow's "same" pads unevenly at stride 2 and would shift the features by a pixel. A frozen
    batch norm is folded into the kernel.

    Args:
        filters: Output channels.
        kernel_size: Side of the square kernel.
        strides: Step in both axes.
        groups: Number of channel groups (ResNeXt).
        dilation: Distance between the taps of the kernel.
        norm: Normalisation after the convolution. Without one the convolution has a bias.
        relu: Whether a ReLU ends the block.
        kernel_initializer: Keras initializer of the kernel.

    Call arguments:
        x: (B, H, W, C_in).
        training: Only drives batch norm.

    Returns:
        (B, ceil(H / strides), ceil(W / strides), filters) for odd kernels.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int = 3,
        strides: int = 1,
        groups: int = 1,
        dilation: int = 1,
        norm: NormSpec = NO_NORM,
        relu: bool = True,
        kernel_initializer: str | keras.initializers.Initializer = "he_normal",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.groups = groups
        self.dilation = dilation
        self.relu = relu
        self.kernel_initializer = kernel_initializer
        self.norm = make_norm(norm)

    def build(self, input_shape):
        channels = input_shape[-1]
        if channels % self.groups or self.filters % self.groups:
            raise ValueError(
                "`groups` must divide input channels and `filters`. Received: "
                f"groups={self.groups}, input channels={channels}, filters={self.filters}"
            )
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.kernel_size, self.kernel_size, channels // self.groups, self.filters),
            initializer=self.kernel_initializer,
        )
        if self.norm is None:
            self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")
        else:
            self.norm.build((None, None, None, self.filters))

    def call(self, x, training=None):
        if isinstance(self.norm, FrozenBatchNorm):
            scale, shift = (_after(x, v) for v in self.norm.scale_and_shift())
            x = self._convolve(x, self.kernel * scale) + ops.cast(shift, self.compute_dtype)
        elif self.norm is None:
            x = self._convolve(x, self.kernel) + self.bias
        else:
            x = self.norm(self._convolve(x, self.kernel), training=training)
        return ops.relu(x) if self.relu else x

    def compute_output_shape(self, input_shape):
        padding = 2 * ((self.kernel_size - 1) // 2) * self.dilation
        reach = (self.kernel_size - 1) * self.dilation + 1
        height, width = (
            None if n is None else (n + padding - reach) // self.strides + 1
            for n in input_shape[1:3]
        )
        return (input_shape[0], height, width, self.filters)

    def _convolve(self, x, kernel):
        kernel = ops.cast(kernel, self.compute_dtype)
        if self.strides == 1:
            return convolve(x, kernel, 1, "same", self.dilation)
        pad = (self.kernel_size - 1) // 2 * self.dilation
        if pad:
            x = ops.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        return convolve(x, kernel, self.strides, "valid", self.dilation)


def convolve(x: Tensor, kernel: Tensor, strides: int, padding: str, dilation: int = 1) -> Tensor:
    """`keras.ops.conv`, with two detours around TensorFlow's CPU kernels, the numbers unchanged."""
    if keras.backend.backend() != "tensorflow":
        return ops.conv(x, kernel, strides, padding, dilation_rate=dilation)
    if kernel.shape[0] == 1 and strides > 1 and x.shape[3] < 16:
        # oneDNN's gradient of a strided 1x1 convolution of few channels damages the heap (2.21).
        x, strides = x[:, ::strides, ::strides], 1
    if kernel.shape[2] != x.shape[3]:
        # keras.ops hands grouped kernels to XLA, which compiles anew for every image size and was
        # four times slower.
        import tensorflow as tf

        return tf.nn.conv2d(x, kernel, strides, padding.upper(), dilations=dilation)
    return ops.conv(x, kernel, strides, padding, dilation_rate=dilation)


def _after(x: Tensor, value: Tensor) -> Tensor:
    """`value`, but not before `x` is there.

    Folded kernels depend on weights alone, so TensorFlow would make all of them at once and hold
    them: the backbone's weights a second time.
    """
    if keras.backend.backend() != "tensorflow":
        return value
    import tensorflow as tf

    with tf.control_dependencies([x]):
        return tf.identity(value)
