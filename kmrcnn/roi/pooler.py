"""RoI features from the pyramid."""

from __future__ import annotations

import math

import keras
from keras import ops

from kmrcnn.config.schema import PoolerConfig
from kmrcnn.layers.roi_align import roi_align
from kmrcnn.structures import boxes as box_ops
from kmrcnn.structures.typing import Tensor


class RoIPooler(keras.layers.Layer):
    """RoIAlign from the level that fits each box (Lin et al. 2017, equation 1).

    Args:
        config: Level rule and sampling.
        output_size: Side P of the pooled features.
        feature_info: {"P2": (channels, stride), ...} of the neck; powers of two, finest first.
        level_names: The levels to pool from, e.g. ("P2", ..., "P5").

    Call arguments:
        features: {"P2": (B, h, w, C), ...}.
        boxes: (N, 4), xyxy, network frame.
        batch_indices: (N,) int32.

    Returns:
        (N, P, P, C).
    """

    def __init__(
        self,
        config: PoolerConfig,
        output_size: int,
        feature_info: dict[str, tuple[int, int]],
        level_names: tuple[str, ...],
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # boxes keep float32
        self.config = config
        self.output_size = output_size
        self.level_names = tuple(level_names)
        self.strides = tuple(feature_info[name][1] for name in level_names)
        self.channels = feature_info[level_names[0]][0]
        # The compiled alternatives of TensorFlow's fixed-sampling form have no XLA kernel.
        self.supports_jit = keras.backend.backend() != "tensorflow"

    def call(self, features, boxes, batch_indices):
        return roi_align(
            [features[name] for name in self.level_names],
            boxes,
            batch_indices,
            self.assign_levels(boxes) - int(math.log2(self.strides[0])),
            self.strides,
            self.output_size,
            self.config.sampling_ratio,
            self.config.aligned,
        )

    def assign_levels(self, boxes: Tensor) -> Tensor:
        """Pyramid level (N,) int32 of boxes (N, 4): k = floor(k0 + log2(sqrt(area) / 224)),
        clamped.
        """
        rule = self.config
        ratio = ops.sqrt(box_ops.area(boxes)) / rule.canonical_size
        if rule.level_epsilon_on == "ratio":
            level = rule.canonical_level + ops.log2(ratio + rule.level_epsilon)
        else:
            level = rule.canonical_level + ops.log2(ratio) + rule.level_epsilon
        lowest, highest = (int(math.log2(s)) for s in (self.strides[0], self.strides[-1]))
        level = ops.where(level > lowest, ops.floor(level), float(lowest))  # lowest for NaN, too
        level = ops.minimum(level, float(highest))
        return ops.cast(level, "int32")

    def compute_output_shape(self, features_shape, boxes_shape, batch_indices_shape):
        return (boxes_shape[0], self.output_size, self.output_size, self.channels)
