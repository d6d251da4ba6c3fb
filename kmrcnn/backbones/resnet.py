"""ResNet (He et al. 2015) and ResNeXt (Xie et al. 2016) as detectors use them: C2..C5, no
classifier.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import keras
from keras import ops

from kmrcnn.config.schema import BackboneConfig
from kmrcnn.layers.conv_norm_act import NO_NORM, ConvNormAct, NormSpec

DEPTHS = {  # name: (blocks of res2..res5, bottleneck?)
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
    "resnet152": ((3, 8, 36, 3), True),
}


class ResNet(keras.layers.Layer):
    """Residual network with feature maps at strides 4, 8, 16 and 32 (16 if res5 is dilated).

    Args:
        config: Depth, widths, groups, place of the stride, normalisation, frozen stages.
        inserts: By the number of a stage, 2..5, a layer before its last block; the shape stays.

    Call arguments:
        images: (B, H, W, channels), normalised.

    Returns:
        {"C2": (B, H/4, W/4, c), "C3": (B, H/8, W/8, 2c), "C4": ..., "C5": (B, H/32, W/32, 8c)}, up
        to the last stage.
    """

    def __init__(
        self,
        config: BackboneConfig,
        inserts: Mapping[int, keras.layers.Layer] = MappingProxyType({}),
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.stem = ConvNormAct(
            config.stem_channels, 7, strides=2, norm=_norm_spec(config), name="stem"
        )
        self.stem.trainable = config.freeze_at < 1
        self.stem_pool_padding = config.stem_pool_padding
        self.stages = []
        self.feature_info = {}
        stride = 4
        for number in range(2, config.last_stage + 1):
            stage = residual_stage(config, number)
            stride *= stage[0].strides
            self.feature_info[f"C{number}"] = (stage[-1].channels, stride)
            if number in inserts:
                inserts[number].trainable = config.freeze_at < number
                stage.insert(-1, inserts[number])
            self.stages.append(stage)

    def build(self, input_shape):
        self.stem.build(input_shape)
        channels = self.stem.filters
        for stage in self.stages:
            for block in stage:
                block.build((None, None, None, channels))
                channels = block.channels

    def call(self, images, training=None):
        x = self.stem(images, training=training)
        if self.stem_pool_padding == "same":
            x = ops.max_pool(x, 3, 2, padding="same")
        else:  # Padding the ReLU's output with zeros equals the peers' padding with -inf.
            x = ops.max_pool(ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), 3, 2, padding="valid")
        features = {}
        for index, stage in enumerate(self.stages):
            for block in stage:
                x = block(x, training=training)
            features[f"C{index + 2}"] = x
        return features


def residual_stage(config: BackboneConfig, number: int) -> list[ResidualBlock]:
    """The blocks of res<number>, 2..5, unbuilt.

    Raises:
        ValueError: The configuration names no known network.
    """
    if config.name not in DEPTHS:
        raise ValueError(
            f"`backbone.name` must be one of {list(DEPTHS)}. Received: {config.name!r}"
        )
    blocks, bottleneck = DEPTHS[config.name]
    count = (config.blocks or blocks)[number - 2]
    widening = 2 ** (number - 2)
    channels = (config.res2_channels or (256 if bottleneck else 64)) * widening
    inner = config.groups * config.width_per_group * widening if bottleneck else None
    dilation = config.res5_dilation if number == 5 else 1
    first_strides = 1 if number == 2 or dilation > 1 else 2
    stage = [
        ResidualBlock(
            channels,
            inner,
            strides=first_strides if j == 0 else 1,
            groups=config.groups,
            dilation=dilation,
            stride_in_1x1=config.stride_in_1x1,
            norm=_norm_spec(config),
            name=f"res{number}_{j}",
        )
        for j in range(count)
    ]
    for block in stage:
        block.trainable = config.freeze_at < number
    return stage


def _norm_spec(config: BackboneConfig) -> NormSpec:
    return NormSpec(config.norm, config.norm_epsilon, config.norm_groups)


class ResidualBlock(keras.layers.Layer):
    """Shortcut plus two 3x3 convolutions, or plus 1x1, 3x3, 1x1 (bottleneck).

    Args:
        channels: Output channels.
        inner: Channels of the 3x3 of a bottleneck; None for the basic block.
        strides: Step of the whole block.
        groups: Of the bottleneck's 3x3.
        dilation: Of the 3x3 convolutions.
        stride_in_1x1: Put the stride into the first 1x1 instead of the 3x3.
        norm: Normalisation of every convolution.
    """

    def __init__(
        self,
        channels: int,
        inner: int | None,
        strides: int = 1,
        groups: int = 1,
        dilation: int = 1,
        stride_in_1x1: bool = False,
        norm: NormSpec = NO_NORM,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.channels = channels
        self.strides = strides
        self.norm = norm
        self.shortcut = None
        if inner is None:
            layout = [(channels, 3, strides, 1, dilation), (channels, 3, 1, 1, dilation)]
        else:
            first, second = (strides, 1) if stride_in_1x1 else (1, strides)
            layout = [
                (inner, 1, first, 1, 1),
                (inner, 3, second, groups, dilation),
                (channels, 1, 1, 1, 1),
            ]
        self.convs = [
            ConvNormAct(*arguments, norm=norm, relu=k < len(layout), name=f"conv{k}")
            for k, arguments in enumerate(layout, start=1)
        ]

    def build(self, input_shape):
        if self.strides != 1 or input_shape[-1] != self.channels:
            self.shortcut = ConvNormAct(
                self.channels, 1, self.strides, norm=self.norm, relu=False, name="shortcut"
            )
            self.shortcut.trainable = self.trainable
            self.shortcut.build(input_shape)
        shape = input_shape
        for conv in self.convs:
            conv.build(shape)
            shape = (None, None, None, conv.filters)

    def call(self, x, training=None):
        residual = x
        for conv in self.convs:
            residual = conv(residual, training=training)
        if self.shortcut is not None:
            x = self.shortcut(x, training=training)
        return ops.relu(x + residual)
