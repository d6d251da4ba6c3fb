"""RoI features as `tf.image.crop_and_resize` takes them: one sample per bin, the outer ones on the
box's corners.

Matterport's Mask R-CNN and other TensorFlow systems pool this way. Boxes end at their last pixel
(`anchors.box_ends`): the first sample lies at (x1, y1), the last at (x2, y2), and pixels 0 and
stride * h - 1 of the canvas are the first and the last row of a map.
"""

from __future__ import annotations

from collections.abc import Sequence

from keras import ops

from kmrcnn.custom_ops.roi_align import reference
from kmrcnn.custom_ops.roi_align.arguments import uniform_arguments
from kmrcnn.layers.roi_align_max import reduce_samples
from kmrcnn.structures.typing import Tensor


def roi_crop(
    features: Tensor | Sequence[Tensor],
    boxes: Tensor,
    batch_indices: Tensor,
    strides: float | Sequence[float],
    output_size: int | tuple[int, int],
    sampling_ratio: int = 1,
    aligned: bool = True,
    level_areas: Sequence[float] = (),
) -> Tensor:
    """Bilinear samples of a regular grid that spans each box from corner to corner.

    Args:
        features: L maps (B, h_l, w_l, C), finest first; or one map. They cover the whole canvas,
            whose sides are multiples of the strides.
        boxes: (N, 4), xyxy, pixel numbers of the canvas; N may be 0.
        batch_indices: (N,) int32, image of each box.
        strides: L strides of the maps, pixels; or one number.
        output_size: Samples (height, width) P, Q, or one number for both; at least 2.
        sampling_ratio: Must be 1: there is one sample per bin.
        aligned: Not used: the grid has no half cells.
        level_areas: L - 1 ascending areas, pixels^2: a box of area >= level_areas[k - 1] belongs to
            level k or above.

    Returns:
        (N, P, Q, C) in the dtype of the features. A box with a coordinate that is not finite, or
        with an image index outside 0..B-1, gives zeros. Features get gradients, boxes none.

    Raises:
        ValueError: If an argument has a wrong shape or value.
    """
    if sampling_ratio != 1:
        raise ValueError(f"`sampling_ratio` must be 1 here. Received: {sampling_ratio}")
    given = uniform_arguments(features, boxes, batch_indices, strides, output_size, level_areas)
    if min(given.output_size) < 2:
        raise ValueError(
            f"`output_size` must be at least 2: a sample for each corner. Received: {output_size}"
        )
    levels = reference.assign_levels(given.boxes, given.level_areas)
    rois = reference.locate(given, levels, aligned=True)
    table, grid = reference.flatten_pyramid(given.features, given.batch_indices, levels)
    pixel = ops.take(ops.convert_to_tensor([1.0 / s for s in given.strides], "float32"), levels)
    rows, columns = given.output_size
    top, bin_height = _span(rois.top, rois.bin_height, grid.height, pixel, rows)
    left, bin_width = _span(rois.left, rois.bin_width, grid.width, pixel, columns)
    rois = reference.RoIs(top, left, bin_height, bin_width, rois.used)
    return reduce_samples(table, grid, rois, given.output_size, 1, "mean")


def _span(start: Tensor, bin_size: Tensor, length: Tensor, pixel: Tensor, samples: int):
    """Start and bin size, (N,), of bins whose middles span the box from corner to corner.

    Args:
        start: (N,), of the box, cells, less half a cell, as RoIAlign has it.
        bin_size: (N,), of as many bins as there are samples, cells.
        length: (N,) int32, of the map, cells.
        pixel: (N,), a pixel in cells.
        samples: Along this axis.
    """
    length = ops.cast(length, "float32")
    shrink = (length - 1.0) / (length - pixel)  # pixel 0 and the last one go to the outer cells
    first = (start + 0.5) * shrink
    step = bin_size * samples / (samples - 1) * shrink
    return first - 0.5 * step, step
