"""RoIAlign with the maximum of a bin's samples in place of their mean (He et al. 2017, Table 2c).

The samples are those of `kmrcnn.custom_ops.roi_align`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from keras import ops

from kmrcnn.custom_ops.roi_align import reference
from kmrcnn.custom_ops.roi_align.arguments import check_sampling_ratio, uniform_arguments
from kmrcnn.structures.typing import Tensor


def roi_align_max(
    features: Tensor | Sequence[Tensor],
    boxes: Tensor,
    batch_indices: Tensor,
    strides: float | Sequence[float],
    output_size: int | tuple[int, int],
    sampling_ratio: int = 2,
    aligned: bool = True,
    level_areas: Sequence[float] = (),
) -> Tensor:
    """Largest bilinear sample of every bin.

    A sample more than one cell outside the map is 0 and takes part in the maximum; one within a
    cell of it is clamped to the border. The gradient goes to the four cells of the largest sample,
    of the first one in reading order if several are equal.

    Args:
        features: L maps (B, h_l, w_l, C), finest first; or one map.
        boxes: (N, 4), xyxy, network frame, pixels; N may be 0.
        batch_indices: (N,) int32, image of each box.
        strides: L strides of the maps, pixels; or one number.
        output_size: Bins (height, width) P, Q, or one number for both.
        sampling_ratio: Samples per bin and axis, at least 1: there is no adaptive sampling.
        aligned: Shift by half a cell before sampling, so that cell centres sit at integers.
        level_areas: L - 1 ascending areas, pixels^2: a box of area >= level_areas[k - 1] belongs to
            level k or above.

    Returns:
        (N, P, Q, C) in the dtype of the features. A box with a coordinate that is not finite, or
        with an image index outside 0..B-1, gives zeros. Features get gradients, boxes none.

    Raises:
        ValueError: If an argument has a wrong shape, or sampling is adaptive.
    """
    sampling_ratio = check_sampling_ratio(sampling_ratio, lowest=1)
    given = uniform_arguments(features, boxes, batch_indices, strides, output_size, level_areas)
    levels = reference.assign_levels(given.boxes, given.level_areas)
    rois = reference.locate(given, levels, aligned)
    table, grid = reference.flatten_pyramid(given.features, given.batch_indices, levels)
    return reduce_samples(table, grid, rois, given.output_size, sampling_ratio, "max")


def reduce_samples(
    table: Tensor,
    grid: reference.Grid,
    rois: reference.RoIs,
    output_size: tuple[int, int],
    sampling_ratio: int,
    reduce: Literal["max", "mean"],
) -> Tensor:
    """(N, P, Q, C): maximum or mean of sampling_ratio^2 bilinear samples of every bin."""
    counts = ops.full_like(rois.top, float(sampling_ratio))
    result = None
    for y in range(sampling_ratio):
        for x in range(sampling_ratio):
            sample = reference.sample(table, grid, rois, counts, counts, y, x, output_size)
            if result is None:
                result = sample
            elif reduce == "mean":
                result = result + sample
            else:
                # Not ops.maximum: of equal samples some backends give each a half of the gradient.
                result = ops.where(sample > result, sample, result)
    return result / sampling_ratio**2 if reduce == "mean" else result
