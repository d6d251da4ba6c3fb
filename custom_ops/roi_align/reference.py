"""RoIAlign (He et al. 2017, section 3) over a feature pyramid in keras.ops: readable and exact.

The truth in tests, the operator of other backends and the form that exports. Every bin is the mean
of bilinear samples at regular points; a sample more than one cell outside the map is 0, one within
a cell of it is clamped to the border. `cc/geometry.h` is the same rule for the compiled kernels.
"""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

from kmrcnn.custom_ops.roi_align.arguments import RoIArguments

BLOCK = 64  # RoIs pooled together under adaptive sampling: they share a loop over sample points
FAR = 1e8  # cells; coordinates beyond do not matter, and their differences would overflow


def roi_align(arguments: RoIArguments, sampling_ratio: int, aligned: bool):
    """Pool each box from its level, (N, P, Q, C)."""
    levels = assign_levels(arguments.boxes, arguments.level_areas)
    rois = locate(arguments, levels, aligned)
    table, grid = flatten_pyramid(arguments.features, arguments.batch_indices, levels)
    pool = _pool_adaptive if sampling_ratio == 0 else pool_fixed
    return pool(table, grid, rois, arguments.output_size, sampling_ratio)


class RoIs(NamedTuple):
    """Boxes in the frame of their own map, cells, (N,) each; float32 but for `used`."""

    top: object
    left: object
    bin_height: object
    bin_width: object
    used: object  # bool: the box is finite and its image exists


class Grid(NamedTuple):
    """Where each RoI's map lies in the flattened pyramid, (N,) int32 each."""

    origin: object
    height: object
    width: object


def assign_levels(boxes, level_areas):
    """Index (N,) int32 of the map for each box (N, 4): how many of the thresholds its area reaches.

    A box without area, or with a coordinate that is not a number, belongs to the finest map.
    """
    sides = ops.maximum(boxes[:, 2:] - boxes[:, :2], 0.0)
    area = sides[:, 0] * sides[:, 1]
    levels = ops.zeros_like(area, dtype="int32")
    for threshold in level_areas:
        levels = levels + ops.cast(area >= threshold, "int32")
    return levels


def locate(arguments: RoIArguments, levels, aligned) -> RoIs:
    """Corner and bin size of each box on its map. Unused ones lie where no sample counts."""
    scales = ops.convert_to_tensor([1.0 / stride for stride in arguments.strides], "float32")
    batch, images = ops.shape(arguments.features[0])[0], arguments.batch_indices
    rows, columns = arguments.output_size
    boxes = arguments.boxes
    boxes = boxes * ops.expand_dims(ops.take(scales, levels), -1)
    used = ops.all(ops.isfinite(boxes), axis=-1)
    used = ops.logical_and(used, ops.logical_and(images >= 0, images < batch))
    boxes = ops.where(ops.expand_dims(used, -1), ops.clip(boxes, -FAR, FAR), -FAR)
    if aligned:
        boxes = boxes - 0.5
    left, top = boxes[:, 0], boxes[:, 1]
    width, height = boxes[:, 2] - left, boxes[:, 3] - top
    if not aligned:
        width, height = ops.maximum(width, 1.0), ops.maximum(height, 1.0)
    return RoIs(top, left, height / rows, width / columns, used)


def flatten_pyramid(features, batch_indices, levels):
    """All cells of all maps in one table (cells, C), and each RoI's `Grid` in it."""
    return join_maps(features), find_maps(features, batch_indices, levels)


def join_maps(features):
    """All cells of all maps in one table (cells, C)."""
    channels = features[0].shape[-1]
    return ops.concatenate([ops.reshape(f, (-1, channels)) for f in features], axis=0)


def find_maps(features, batch_indices, levels) -> Grid:
    """Each RoI's map in the table of `join_maps`."""
    heights = ops.stack([ops.convert_to_tensor(ops.shape(f)[1], "int32") for f in features])
    widths = ops.stack([ops.convert_to_tensor(ops.shape(f)[2], "int32") for f in features])
    batch = ops.convert_to_tensor(ops.shape(features[0])[0], "int32")
    cells = heights * widths * batch
    start = ops.take(ops.cumsum(cells) - cells, levels)
    height, width = ops.take(heights, levels), ops.take(widths, levels)
    image = ops.clip(batch_indices, 0, batch - 1)
    return Grid(start + image * height * width, height, width)


def pool_fixed(table, grid, rois, output_size, ratio):
    """Pooled RoIs (N, P, Q, C) from the cells of all maps, `ratio` samples per bin and axis."""
    counts = ops.full_like(rois.top, float(ratio))
    total = 0.0
    for y in range(ratio):
        for x in range(ratio):
            total = total + sample(table, grid, rois, counts, counts, y, x, output_size)
    return total / ratio**2


def _pool_adaptive(table, grid, rois, output_size, _):
    """ceil(bin size) samples per axis, however many that is.

    RoIs are sorted by their counts and pooled in blocks, so that a few large or thin ones do not
    make all others loop as often. Reverse-mode gradients need a backend whose while loops have them
    (TensorFlow without XLA, torch).
    """
    number = ops.shape(rois.top)[0]
    # Fills the last block, and makes one where there are no RoIs.
    spare = [(0, BLOCK - number % BLOCK)]
    rois = RoIs(*(ops.pad(v, spare) for v in rois))
    grid = Grid(*(ops.pad(v, spare, constant_values=c) for v, c in zip(grid, (0, 1, 1))))
    counts_y = count_samples(rois.bin_height, grid.height, output_size[0])
    counts_x = count_samples(rois.bin_width, grid.width, output_size[1])
    order = ops.argsort(counts_y * 1024.0 + counts_x)
    blocks = ops.reshape(order, (-1, BLOCK))

    def pool_block(members):
        part_grid = Grid(*(ops.take(v, members) for v in grid))
        part_rois = RoIs(*(ops.take(v, members) for v in rois))
        gy, gx = ops.take(counts_y, members), ops.take(counts_x, members)
        columns = ops.maximum(ops.cast(ops.max(gx), "int32"), 1)
        loops = ops.cast(ops.max(gy), "int32") * columns

        def add_sample(step, total):
            y, x = step // columns, step % columns
            return step + 1, total + sample(table, part_grid, part_rois, gy, gx, y, x, output_size)

        zeros = ops.zeros((BLOCK, *output_size, table.shape[-1]), table.dtype)
        start = (ops.convert_to_tensor(0, "int32"), zeros)
        _, total = ops.while_loop(lambda step, total: step < loops, add_sample, start)
        divisor = ops.cast(ops.maximum(gy * gx, 1.0), table.dtype)
        return total / ops.reshape(divisor, (BLOCK, 1, 1, 1))

    pooled = ops.reshape(ops.map(pool_block, blocks), (-1, *output_size, table.shape[-1]))
    return ops.take(pooled, ops.argsort(order)[:number], axis=0)


def count_samples(bin_size, length, bins):
    """ceil(bin size), (N,) float32.

    A box four times as long as its map, or longer, is sampled more coarsely: an absurd box must
    not loop for ever.
    """
    most = ops.maximum(ops.ceil(ops.cast(4 * length, "float32") / bins), 8.0)
    return ops.minimum(ops.maximum(ops.ceil(bin_size), 0.0), most)


def sample(table, grid, rois, counts_y, counts_x, sample_y, sample_x, output_size):
    """One bilinear sample of every bin, (N, P, Q, C): number (sample_y, sample_x) of counts_y x
    counts_x, those float32 (N,); 0 where it is outside the map.
    """
    rows = _taps(rois.top, rois.bin_height, counts_y, sample_y, grid.height, output_size[0])
    columns = _taps(rois.left, rois.bin_width, counts_x, sample_x, grid.width, output_size[1])
    value = 0.0
    for row, row_weight in rows:
        start = ops.expand_dims(grid.origin, -1) + row * ops.expand_dims(grid.width, -1)  # (N, P)
        for column, column_weight in columns:
            cells = ops.take(table, start[:, :, None] + column[:, None, :], axis=0)  # (N, P, Q, C)
            weight = row_weight[:, :, None] * column_weight[:, None, :]
            value = value + cells * ops.cast(weight[..., None], table.dtype)
    return value


def _taps(start, bin_size, counts, sample_index, length, bins):
    """The two neighbours of a sample point along one axis: ((index, weight), (index, weight)), each
    (N, bins).
    """
    positions = ops.arange(bins, dtype="float32")
    # The reference systems' order of operations: another one moves values near x = 50 by 1e-5.
    offset = (ops.cast(sample_index, "float32") + 0.5) * bin_size / ops.maximum(counts, 1.0)
    point = start[:, None] + positions[None, :] * bin_size[:, None] + offset[:, None]
    limit = ops.cast(length, "float32")[:, None]
    used = ops.logical_and(point >= -1.0, point <= limit)
    used = ops.logical_and(used, (counts > ops.cast(sample_index, "float32"))[:, None])
    point = ops.where(used, ops.minimum(ops.maximum(point, 0.0), limit - 1.0), 0.0)
    low = ops.floor(point)
    high = ops.minimum(low + 1.0, limit - 1.0)
    weight = ops.cast(used, "float32")
    fraction = point - low
    return (
        (ops.cast(low, "int32"), (1.0 - fraction) * weight),
        (ops.cast(high, "int32"), fraction * weight),
    )
