"""RoIWarp (Dai et al. 2016, section 3.1) as He et al. 2017 compare it with RoIAlign in Table 2c.

It resamples bilinearly, as RoIAlign does, but from a box that is rounded to whole cells first, as
RoIPool does. Table 2c asks which of the two matters, so this operator is RoIAlign of the rounded
box and nothing else: a box that lies on the grid of its map gives the values of RoIAlign.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from keras import ops

from kmrcnn.custom_ops.roi_align import reference
from kmrcnn.custom_ops.roi_align.arguments import check_sampling_ratio, uniform_arguments
from kmrcnn.layers.roi_align_max import reduce_samples
from kmrcnn.layers.roi_pool import round_to_cells
from kmrcnn.structures.typing import Tensor


# DIFFERS: Dai et al.'s equations round nothing; their released kernel rounds, and He et al. mean
# that. It has the size last - first, too, but also gives the boxes a gradient, takes the maximum of
# ceil(bin size) samples per axis from edge to edge of a bin and leaves out samples more than half a
# cell outside the map. Here all of this is as in RoIAlign, so that only the rounding differs.
def roi_warp(
    features: Tensor | Sequence[Tensor],
    boxes: Tensor,
    batch_indices: Tensor,
    strides: float | Sequence[float],
    output_size: int | tuple[int, int],
    sampling_ratio: int = 2,
    aligned: bool = True,
    level_areas: Sequence[float] = (),
    reduce: Literal["mean", "max"] = "mean",
) -> Tensor:
    """Mean or maximum of bilinear samples of every bin of the rounded box.

    A corner x is rounded to cell corner round(x / stride), halves away from zero, and the RoI lies
    between its two corners: size = last - first, without RoIPool's additional cell. Bins and
    samples are not rounded; they are those that RoIAlign places in a box with these corners.

    Args:
        features: L maps (B, h_l, w_l, C), finest first; or one map.
        boxes: (N, 4), xyxy, network frame, pixels; N may be 0.
        batch_indices: (N,) int32, image of each box.
        strides: L strides of the maps, pixels; or one number.
        output_size: Bins (height, width) P, Q, or one number for both.
        sampling_ratio: Samples per bin and axis, at least 1: there is no adaptive sampling.
        aligned: Shift the rounded box by half a cell before sampling, so that cell centres sit at
            integers. If not, its sides are at least one cell.
        level_areas: L - 1 ascending areas, pixels^2: a box of area >= level_areas[k - 1], before
            rounding, belongs to level k or above.
        reduce: What the samples of a bin become.

    Returns:
        (N, P, Q, C) in the dtype of the features. A box with a coordinate that is not finite, or
        with an image index outside 0..B-1, gives zeros. Features get gradients, boxes none.

    Raises:
        ValueError: If an argument has a wrong shape, sampling is adaptive or `reduce` is unknown.
    """
    sampling_ratio = check_sampling_ratio(sampling_ratio, lowest=1)
    if reduce not in ("mean", "max"):
        raise ValueError(f"`reduce` must be 'mean' or 'max'. Received: reduce={reduce!r}")
    given = uniform_arguments(features, boxes, batch_indices, strides, output_size, level_areas)
    levels = reference.assign_levels(given.boxes, given.level_areas)
    corners = round_to_cells(given.boxes, levels, given.strides)
    on_maps = given._replace(boxes=corners, strides=(1.0,))  # in cells of their own maps
    rois = reference.locate(on_maps, ops.zeros_like(levels), aligned)
    table, grid = reference.flatten_pyramid(given.features, given.batch_indices, levels)
    return reduce_samples(table, grid, rois, given.output_size, sampling_ratio, reduce)
