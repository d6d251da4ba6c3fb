"""The arguments of RoIAlign and of the operators that can stand in for it, checked and uniform."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import NamedTuple

from keras import ops

MAX_LEVELS = 8
MAX_SAMPLING_RATIO = 64


class RoIArguments(NamedTuple):
    """L maps, N boxes, and how they are pooled."""

    features: list  # (B, h_l, w_l, C) each
    boxes: object  # (N, 4) float32, xyxy, pixels; without gradient
    batch_indices: object  # (N,) int32
    strides: tuple[float, ...]  # L
    output_size: tuple[int, int]  # bins: height, width
    level_areas: tuple[float, ...]  # L - 1, pixels^2


def uniform_arguments(
    features,
    boxes,
    batch_indices,
    strides: float | Sequence[float],
    output_size: int | tuple[int, int],
    level_areas: Sequence[float],
) -> RoIArguments:
    """One map becomes a list of one, one stride a tuple, one side two.

    Raises:
        ValueError: If shapes, or the numbers of maps, strides and areas, do not fit together.
    """
    features = list(features) if isinstance(features, (list, tuple)) else [features]
    strides = (strides,) if isinstance(strides, numbers.Real) else tuple(strides)
    size = (output_size,) * 2 if isinstance(output_size, numbers.Integral) else tuple(output_size)
    features = [ops.convert_to_tensor(maps) for maps in features]
    boxes = ops.stop_gradient(ops.cast(boxes, "float32"))
    batch_indices = ops.cast(batch_indices, "int32")
    _check_tensors(features, boxes, batch_indices)
    _check_settings(len(features), strides, size, tuple(level_areas))
    return RoIArguments(
        features,
        boxes,
        batch_indices,
        tuple(float(stride) for stride in strides),
        tuple(int(bins) for bins in size),
        tuple(float(area) for area in level_areas),
    )


def check_sampling_ratio(sampling_ratio: int, lowest: int) -> int:
    """The ratio as an int; ValueError unless it is a whole number from `lowest` to 64."""
    whole = isinstance(sampling_ratio, numbers.Integral)
    if not whole or not lowest <= sampling_ratio <= MAX_SAMPLING_RATIO:
        raise ValueError(
            f"`sampling_ratio` must be a whole number from {lowest} to {MAX_SAMPLING_RATIO}. "
            f"Received: sampling_ratio={sampling_ratio}"
        )
    return int(sampling_ratio)


def _check_tensors(features, boxes, batch_indices) -> None:
    if not 1 <= len(features) <= MAX_LEVELS:
        raise ValueError(f"`features` must be 1 to {MAX_LEVELS} maps. Received: {len(features)}")
    for maps in features:
        if len(maps.shape) != 4 or maps.shape[-1] != features[0].shape[-1]:
            raise ValueError(
                "`features` must have shape (B, h, w, C) with the same C on all levels. Received: "
                f"shapes {[tuple(f.shape) for f in features]}"
            )
    if len(boxes.shape) != 2 or boxes.shape[-1] != 4:
        raise ValueError(
            f"`boxes` must have shape (N, 4). Received: boxes.shape={tuple(boxes.shape)}"
        )
    if len(batch_indices.shape) != 1:
        raise ValueError(
            "`batch_indices` must have shape (N,). Received: batch_indices.shape="
            f"{tuple(batch_indices.shape)}"
        )


def _check_settings(levels, strides, output_size, level_areas) -> None:
    if len(strides) != levels or not all(stride > 0 for stride in strides):
        raise ValueError(
            f"`strides` must be {levels} positive numbers, one per map. Received: {strides}"
        )
    if len(output_size) != 2 or not all(int(n) == n and n > 0 for n in output_size):
        raise ValueError(
            "`output_size` must be a positive whole number or two of them (height, width). "
            f"Received: {output_size}"
        )
    if len(level_areas) != levels - 1 or list(level_areas) != sorted(level_areas):
        raise ValueError(
            f"`level_areas` must be {levels - 1} ascending areas, one per map but the first. "
            f"Received: {level_areas}"
        )
