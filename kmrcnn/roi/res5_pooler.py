"""RoI features of the C4 form: the backbone's last stage works on every RoI (He et al. 2017, figure
4 left).
"""

from __future__ import annotations

import keras

from kmrcnn.backbones.resnet import residual_stage
from kmrcnn.config.schema import BackboneConfig


class Res5Pooler(keras.layers.Layer):
    """A pooler followed by res5, whose stride halves the side; all branches share it.

    Args:
        pooler: A `RoIPooler` of the map before res5.
        config: The backbone's.

    Call arguments:
        features: {"C4": (B, h, w, c)}.
        boxes: (N, 4), xyxy, network frame.
        batch_indices: (N,) int32.
        training: Only drives batch norm.

    Returns:
        (N, ceil(P / 2), ceil(P / 2), 2c).
    """

    def __init__(self, pooler: keras.layers.Layer, config: BackboneConfig, **kwargs):
        super().__init__(autocast=False, **kwargs)  # boxes keep float32
        self.pooler = pooler
        self.blocks = residual_stage(config, 5)
        self.output_size = -(-pooler.output_size // self.blocks[0].strides)
        self.channels = self.blocks[-1].channels
        self.supports_jit = pooler.supports_jit

    def build(self, features_shape=None, boxes_shape=None, batch_indices_shape=None):
        channels = self.pooler.channels
        for block in self.blocks:
            if not block.built:
                block.build((None, None, None, channels))
            channels = block.channels

    def call(self, features, boxes, batch_indices, training=None):
        x = self.pooler(features, boxes, batch_indices)
        for block in self.blocks:
            x = block(x, training=training)
        return x

    def assign_levels(self, boxes):
        """Level (N,) int32 of boxes (N, 4): all of the one map."""
        return self.pooler.assign_levels(boxes)

    def compute_output_shape(self, features_shape, boxes_shape, batch_indices_shape):
        return (boxes_shape[0], self.output_size, self.output_size, self.channels)
