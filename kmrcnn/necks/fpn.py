"""Feature pyramid network (Lin et al. 2017)."""

import keras
from keras import ops

from kmrcnn.config.schema import NeckConfig
from kmrcnn.layers.conv_norm_act import ConvNormAct, NormSpec
from kmrcnn.structures.typing import Tensor


class FPN(keras.layers.Layer):
    """Top-down pathway with lateral connections over C2..C5, and P6 subsampled from P5.

    Args:
        config: Channels and normalisation.
        feature_info: {"C2": (channels, stride), ...} of the backbone.

    Call arguments:
        features: {"C2": (B, h2, w2, c2), ...}.

    Returns:
        {"P2": (B, h2, w2, channels), ..., "P6": (B, ceil(h5 / 2), ceil(w5 / 2), channels)}.
    """

    def __init__(self, config: NeckConfig, feature_info: dict[str, tuple[int, int]], **kwargs):
        super().__init__(**kwargs)
        norm = NormSpec(config.norm, config.norm_epsilon, config.norm_groups)
        self.levels = [int(name[1:]) for name in feature_info]
        self.input_channels = [channels for channels, _ in feature_info.values()]
        self.laterals = [self._conv(config, 1, norm, f"lateral{i}") for i in self.levels]
        self.output_convs = [self._conv(config, 3, norm, f"output{i}") for i in self.levels]
        self.channels = config.channels
        strides = [stride for _, stride in feature_info.values()]
        self.feature_info = {f"P{i}": (config.channels, s) for i, s in zip(self.levels, strides)}
        self.roi_levels = tuple(self.feature_info)
        # The coarsest one is there for the RPN only.
        self.feature_info[f"P{self.levels[-1] + 1}"] = (config.channels, 2 * strides[-1])

    @staticmethod
    def _conv(config: NeckConfig, kernel_size: int, norm: NormSpec, name: str) -> ConvNormAct:
        return ConvNormAct(
            config.channels,
            kernel_size,
            norm=norm,
            relu=False,
            kernel_initializer="glorot_uniform",
            name=name,
        )

    def build(self, input_shape):
        for lateral, output, channels in zip(self.laterals, self.output_convs, self.input_channels):
            lateral.build((None, None, None, channels))
            output.build((None, None, None, self.channels))

    def call(self, features, training=None):
        merged = None
        pyramid = {}
        for level, lateral, output in zip(
            *map(reversed, (self.levels, self.laterals, self.output_convs))
        ):
            x = lateral(features[f"C{level}"], training=training)
            merged = x if merged is None else x + upsample_nearest(merged, like=x)
            pyramid[f"P{level}"] = output(merged, training=training)
        top = pyramid[f"P{self.levels[-1]}"][:, ::2, ::2]
        return dict(reversed(pyramid.items())) | {f"P{self.levels[-1] + 1}": top}


def upsample_nearest(x: Tensor, like: Tensor) -> Tensor:
    """Nearest-neighbour resize of x (B, h, w, C) to the height and width of `like`: index floor(i *
    h / H).
    """
    for axis in (1, 2):
        small, large = ops.shape(x)[axis], ops.shape(like)[axis]
        x = ops.take(x, ops.arange(large, dtype="int32") * small // large, axis=axis)
    return x
