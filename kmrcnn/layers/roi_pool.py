"""RoIPool (Girshick 2015, Fast R-CNN; He et al. 2014), equal to torchvision.ops.roi_pool.

The box is rounded to whole cells, its bins are rounded outwards to whole cells, and every bin gives
its largest cell. RoIAlign removes both roundings; Table 2c of He et al. 2017 compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from keras import ops

from kmrcnn.custom_ops.roi_align import reference
from kmrcnn.custom_ops.roi_align.arguments import uniform_arguments
from kmrcnn.structures.typing import Tensor

BLOCK = 64  # RoIs searched together: they share a loop over the cells of a bin


def roi_pool(
    features: Tensor | Sequence[Tensor],
    boxes: Tensor,
    batch_indices: Tensor,
    strides: float | Sequence[float],
    output_size: int | tuple[int, int],
    sampling_ratio: int = 0,
    aligned: bool = True,
    level_areas: Sequence[float] = (),
) -> Tensor:
    """Largest cell of every bin.

    A corner x is rounded to cell round(x / stride), halves away from zero. Both corners belong to
    the RoI, which has size = max(last - first + 1, 1) cells along an axis; bin p of P covers cells
    first + floor(p * size / P) to first + ceil((p + 1) * size / P) - 1 as far as they are on the
    map. A bin without cells gives 0.

    The gradient goes to the largest cell of the bin, to the first in reading order if several are
    equal, as in torchvision. Every backend has it, because the loop that searches the largest cell
    is not differentiated.

    Args:
        features: L maps (B, h_l, w_l, C), finest first; or one map.
        boxes: (N, 4), xyxy, network frame, pixels; N may be 0.
        batch_indices: (N,) int32, image of each box.
        strides: L strides of the maps, pixels; or one number.
        output_size: Bins (height, width) P, Q, or one number for both.
        sampling_ratio: Not used: there are no samples. It is here so that RoIPool can take
            RoIAlign's place.
        aligned: Not used, likewise.
        level_areas: L - 1 ascending areas, pixels^2: a box of area >= level_areas[k - 1] belongs to
            level k or above.

    Returns:
        (N, P, Q, C) in the dtype of the features. A box with a coordinate that is not finite, or
        with an image index outside 0..B-1, gives zeros. Features get gradients, boxes none.

    Raises:
        ValueError: If an argument has a wrong shape.
    """
    given = uniform_arguments(features, boxes, batch_indices, strides, output_size, level_areas)
    number, channels = ops.shape(given.boxes)[0], given.features[0].shape[-1]
    table, grid, bins = _bins_on_maps(given)
    cells = _find_largest(ops.stop_gradient(table), grid, bins)[:number]
    # The search says where the values are; they are read here, where gradients flow.
    index = ops.reshape(ops.maximum(cells, 0), (-1, channels))
    pooled = ops.reshape(ops.take_along_axis(table, index, axis=0), ops.shape(cells))
    return ops.where(cells >= 0, pooled, ops.zeros_like(pooled))


def round_to_cells(boxes: Tensor, levels: Tensor, strides: Sequence[float]) -> Tensor:
    """Corners (N, 4) float32 of boxes on their maps, whole cells; halves go away from zero."""
    scales = ops.convert_to_tensor([1.0 / stride for stride in strides], "float32")
    corners = boxes * ops.expand_dims(ops.take(scales, levels), -1)
    whole = ops.trunc(corners)
    away = ops.cast(ops.abs(corners - whole) >= 0.5, "float32")
    return whole + ops.sign(corners) * away


class _Bins(NamedTuple):
    """Cells of the bins, clipped to the map: (N, P) int32 for rows, (N, Q) for columns."""

    first_row: Tensor
    rows: Tensor
    first_column: Tensor
    columns: Tensor


def _bins_on_maps(given):
    """Table of all cells, where each RoI's map lies in it, and the RoIs' bins.

    RoIs without an image fill the last block, and make one where there are no RoIs.
    """
    spare = BLOCK - ops.shape(given.boxes)[0] % BLOCK
    boxes = ops.pad(given.boxes, [(0, spare), (0, 0)])
    batch_indices = ops.pad(given.batch_indices, [(0, spare)], constant_values=-1)
    levels = reference.assign_levels(boxes, given.level_areas)
    table, grid = reference.flatten_pyramid(given.features, batch_indices, levels)
    corners = round_to_cells(boxes, levels, given.strides)
    corners = corners + ops.convert_to_tensor([0.0, 0.0, 1.0, 1.0])  # the last cell belongs to it
    # In units of cells without alignment, "bins" of one whole RoI: exact, and at least one cell.
    whole = given._replace(
        boxes=corners, batch_indices=batch_indices, strides=(1.0,), output_size=(1, 1)
    )
    rois = reference.locate(whole, ops.zeros_like(levels), aligned=False)
    first_row, rows = _divide(rois.top, rois.bin_height, grid.height, given.output_size[0])
    first_column, columns = _divide(rois.left, rois.bin_width, grid.width, given.output_size[1])
    return table, grid, _Bins(first_row, rows, first_column, columns)


def _divide(start, size, length, number):
    """First cell of each bin along one axis and how many there are, (N, number) int32 each."""
    # size / number is torchvision's float32 quotient, and its rounding can add a cell to a bin. If
    # the divisor were a constant, compilers would multiply by the reciprocal, which rounds
    # differently; they cannot know that this minimum is 0.
    divisor = ops.maximum(ops.minimum(size, 0.0), float(number))
    bin_size = ops.expand_dims(size / divisor, -1)
    positions = ops.expand_dims(ops.arange(number, dtype="float32"), 0)
    start = ops.expand_dims(ops.cast(start, "int32"), -1)
    length = ops.expand_dims(length, -1)
    first = start + ops.cast(ops.floor(positions * bin_size), "int32")
    end = start + ops.cast(ops.ceil((positions + 1.0) * bin_size), "int32")
    first, end = ops.clip(first, 0, length), ops.clip(end, 0, length)
    return first, end - first


def _find_largest(table, grid, bins):
    """Row in `table` of the largest cell of every bin, (N, P, Q, C) int32; -1 for an empty bin.

    One cell of every bin at a time, so that memory does not grow with the boxes. RoIs are sorted by
    their number of cells per bin and searched in blocks, so that a few large ones do not make all
    others loop as often.
    """
    rows, columns = ops.max(bins.rows, axis=-1), ops.max(bins.columns, axis=-1)  # largest bins
    order = ops.argsort(rows * columns)
    blocks = ops.reshape(order, (-1, BLOCK))

    def search_block(members):
        part_grid = reference.Grid(*(ops.take(v, members) for v in grid))
        part_bins = _Bins(*(ops.take(v, members, axis=0) for v in bins))
        steps = ops.max(ops.take(rows * columns, members))
        return _search(table, part_grid, part_bins, ops.take(columns, members), steps)

    shape = (bins.rows.shape[1], bins.columns.shape[1], table.shape[-1])
    cells = ops.reshape(ops.map(search_block, blocks), (-1, *shape))
    return ops.take(cells, ops.argsort(order), axis=0)


def _search(table, grid, bins, columns, steps):
    """Step through the cells of all bins at once, in reading order, each RoI at its own row length
    `columns`, and keep the first largest one.
    """
    columns = ops.expand_dims(ops.maximum(columns, 1), -1)
    width, origin = grid.width[:, None, None], grid.origin[:, None, None]

    def compare(step, largest, found):
        row, column = step // columns, step % columns  # of the step in the bin, (BLOCK, 1)
        inside = ops.logical_and(
            (row < bins.rows)[:, :, None], (column < bins.columns)[:, None, :]
        )  # (BLOCK, P, Q)
        row, column = (bins.first_row + row)[:, :, None], (bins.first_column + column)[:, None, :]
        cells = ops.where(inside, origin + row * width + column, 0)
        values = ops.take(table, cells, axis=0)  # (BLOCK, P, Q, C)
        better = ops.logical_and(inside[..., None], values > largest)
        largest = ops.where(better, values, largest)
        return step + 1, largest, ops.where(better, cells[..., None], found)

    shape = (BLOCK, bins.rows.shape[1], bins.columns.shape[1], table.shape[-1])
    start = (
        ops.convert_to_tensor(0, "int32"),
        ops.full(shape, -float("inf"), dtype=table.dtype),
        ops.full(shape, -1, dtype="int32"),
    )
    return ops.while_loop(lambda step, *_: step < steps, compare, start)[-1]
