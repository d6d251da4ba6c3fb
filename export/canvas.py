"""Pictures on a canvas of fixed size, for runtimes that know no other."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from kmrcnn.config.schema import InputConfig
from kmrcnn.data.preprocess import canvas_size, network_size, to_network


def default_canvas(config: InputConfig) -> tuple[int, int]:
    """(height, width) that holds every landscape picture as the model resizes it."""
    return canvas_size((config.short_side, config.long_side), config.pad_multiple)


def to_canvas(
    image: np.ndarray, config: InputConfig, canvas: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Resize a picture as the model does, or further if it would not fit, and pad it.

    Args:
        image: (H, W, C), RGB where C = 3, 0-255.
        config: Size, filter and rounding of the model.
        canvas: (height, width).

    Returns:
        (height, width, C) float32 RGB, zeros below and on the right; (2,) int32, the (height,
        width) of the content.
    """
    config = dataclasses.replace(
        _fitting(config, image.shape[:2], canvas), channel_order="rgb", pad_multiple=1
    )
    resized = to_network(image, config)
    padded = np.zeros((*canvas, resized.shape[2]), np.float32)
    padded[: resized.shape[0], : resized.shape[1]] = resized
    return padded, np.array(resized.shape[:2], np.int32)


def _fitting(config: InputConfig, size: tuple[int, int], canvas: tuple[int, int]) -> InputConfig:
    """The configuration, with a smaller target if the picture would not fit."""
    wanted = network_size(size, config)
    if wanted[0] <= canvas[0] and wanted[1] <= canvas[1]:
        return config
    scale = min(canvas[0] / size[0], canvas[1] / size[1])
    longest = max(1, math.floor(max(size) * scale + 1e-6))
    return dataclasses.replace(config, short_side=max(canvas), long_side=longest)
