"""RoI features from the pyramid."""

from __future__ import annotations

import math
from collections.abc import Callable

import keras

from kmrcnn.config.schema import PoolerConfig
from kmrcnn.custom_ops import fpn_level_areas, is_compiled, roi_align
from kmrcnn.custom_ops.roi_align import reference
from kmrcnn.structures.typing import Tensor


class RoIPooler(keras.layers.Layer):
    """RoIAlign from the level that fits each box (Lin et al. 2017, equation 1).

    Args:
        config: Level rule and sampling.
        output_size: Side P of the pooled features.
        feature_info: {"P2": (channels, stride), ...} of the neck; powers of two, finest first.
        level_names: The levels to pool from, e.g. ("P2", ..., "P5").
        operator: `roi_align`, or another function of the same arguments.

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
        operator: Callable = roi_align,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # boxes keep float32
        self.config = config
        self.operator = operator
        self.output_size = output_size
        self.level_names = tuple(level_names)
        self.strides = tuple(feature_info[name][1] for name in level_names)
        self.channels = feature_info[level_names[0]][0]
        self.lowest_level, highest = (int(math.log2(self.strides[i])) for i in (0, -1))
        self.level_areas = fpn_level_areas(
            self.lowest_level,
            highest,
            config.canonical_level,
            config.canonical_size,
            config.level_epsilon,
            config.level_epsilon_on,
            config.level_rounding,
        )
        # XLA cannot compile the op; where there is none, it can compile the form that replaces it.
        self.supports_jit = keras.backend.backend() != "tensorflow" or not is_compiled()

    def call(self, features, boxes, batch_indices, training=None):
        return self.operator(
            [features[name] for name in self.level_names],
            boxes,
            batch_indices,
            self.strides,
            self.output_size,
            self.config.sampling_ratio,
            self.config.aligned,
            self.level_areas,
        )

    def assign_levels(self, boxes: Tensor) -> Tensor:
        """Pyramid level (N,) int32 of boxes (N, 4), xyxy, network frame."""
        return self.lowest_level + reference.assign_levels(boxes, self.level_areas)

    def compute_output_shape(self, features_shape, boxes_shape, batch_indices_shape):
        return (boxes_shape[0], self.output_size, self.output_size, self.channels)
