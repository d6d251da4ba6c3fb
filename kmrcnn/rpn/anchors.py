"""Anchors: reference boxes on a grid over every pyramid level."""

from __future__ import annotations

import numpy as np
from keras import ops

from kmrcnn.config.schema import AnchorConfig
from kmrcnn.structures.typing import Tensor


class AnchorGenerator:
    """Anchors of every level, a pure function of the padded image size and the level sizes.

    Args:
        config: Sizes, ratios, rounding, strides and order.
        strides: Nominal stride of each level.
    """

    def __init__(self, config: AnchorConfig, strides: tuple[int, ...]):
        if len(config.sizes) != len(strides):
            raise ValueError(
                f"`anchors.sizes` must have one entry per level ({len(strides)}). "
                f"Received: {config.sizes}"
            )
        self.config = config
        self.strides = tuple(strides)
        self.cells = [cell_anchors(config, sizes) for sizes in config.sizes]
        self.num_anchors = len(self.cells[0])
        if any(len(cell) != self.num_anchors for cell in self.cells):
            raise ValueError(
                f"`anchors.sizes` must have as many sizes on every level. Received: {config.sizes}"
            )

    def __call__(self, image_size: tuple, level_sizes: list[tuple]) -> list[Tensor]:
        """Anchors of each level, rows ordered by y, x, cell anchor.

        Args:
            image_size: (height, width) of the padded batch; ints or scalar tensors.
            level_sizes: (height, width) of each level.

        Returns:
            One (h * w * A, 4) float32 tensor per level, xyxy, network frame.
        """
        anchors = []
        for cell, stride, level_size in zip(self.cells, self.strides, level_sizes):
            steps = (stride, stride)
            if self.config.strides == "derived":
                steps = tuple(image // level for image, level in zip(image_size, level_size))
            y, x = (
                (ops.arange(n, dtype="float32") + self.config.offset) * ops.cast(step, "float32")
                for n, step in zip(level_size, steps)
            )
            grid_y, grid_x = ops.meshgrid(y, x, indexing="ij")
            shift = ops.stack([grid_x, grid_y, grid_x, grid_y], axis=-1)  # (h, w, 4)
            if self.config.box_ends == "last_pixel":
                shift = shift - ops.convert_to_tensor([0.0, 0.0, 1.0, 1.0])
            anchors.append(ops.reshape(shift[:, :, None, :] + cell, (-1, 4)))
        return anchors


def cell_anchors(config: AnchorConfig, sizes: tuple[float, ...]) -> np.ndarray:
    """Anchors (A, 4) float32 around the origin for the `sizes` of one level."""
    # The orders and roundings of float32 / float64 are those of the two reference systems.
    pairs = [(size, ratio) for size in sizes for ratio in config.aspect_ratios]
    if config.order == "ratio_major":
        pairs = [(size, ratio) for ratio in config.aspect_ratios for size in sizes]
    if config.rounded:
        size, ratio = np.array(pairs, np.float32).T
        height_ratio = np.sqrt(ratio)
        width, height = (1 / height_ratio) * size, height_ratio * size
        return np.round(np.stack([-width, -height, width, height], -1) / 2)
    size, ratio = np.array(pairs, np.float64).T
    width = np.sqrt(size**2 / ratio)
    height = ratio * width
    return (np.stack([-width, -height, width, height], -1) / 2).astype(np.float32)
