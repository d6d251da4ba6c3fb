"""RoIAlign (He et al. 2017, section 3) over a feature pyramid, exact, in two forms.

`roi_align` equals torchvision's and Detectron2's operator: every bin is the mean of bilinear
samples at regular points; a sample more than one pixel outside the map is 0, one within a pixel of
it is clamped to the border.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
from keras import ops

from kmrcnn.structures.typing import Tensor

BLOCK = 64  # RoIs pooled together by the adaptive form: they share a loop over sample points
FAR = 1e8  # cells; coordinates beyond do not matter, and their differences would overflow


def roi_align(
    features: list[Tensor],
    boxes: Tensor,
    batch_indices: Tensor,
    levels: Tensor,
    strides: tuple[int, ...],
    output_size: int,
    sampling_ratio: int = 0,
    aligned: bool = True,
) -> Tensor:
    """Pool each box from its own level.

    Args:
        features: L maps (B, h_l, w_l, C).
        boxes: (N, 4), xyxy, network frame.
        batch_indices: (N,) int32, image of each box.
        levels: (N,) int32 in 0..L-1, map of each box.
        strides: L strides of the maps, in pixels of the network frame.
        output_size: Side P of the output.
        sampling_ratio: Samples per bin and axis; 0: ceil(bin size) for each box and axis.
        aligned: Shift by half a pixel before sampling, so that pixel centres sit at integers.

    Returns:
        (N, P, P, C) in the dtype of the features; coordinates are computed in float32. A box with
        a coordinate that is not finite gives zeros. Features get gradients, boxes none.
    """
    rois = _locate(boxes, levels, strides, output_size, aligned)
    if sampling_ratio > 0 and keras.backend.backend() == "tensorflow":
        pooled = _crop_and_resize(
            features, rois, batch_indices, levels, output_size, sampling_ratio
        )
        return ops.reshape(pooled, (-1, output_size, output_size, features[0].shape[-1]))
    table, grid = _flatten_pyramid(features, batch_indices, levels)
    if sampling_ratio > 0:
        counts = ops.full_like(rois.top, float(sampling_ratio))
        return _pool_fixed(table, grid, rois, counts, output_size, sampling_ratio)
    return _pool_adaptive(table, grid, rois, output_size)


class _RoIs(NamedTuple):
    """Boxes in the frame of their own map: first corner and bin size, (N,) float32 each."""

    top: Tensor
    left: Tensor
    bin_height: Tensor
    bin_width: Tensor


class _Grid(NamedTuple):
    """Where each RoI's map lies in the flattened pyramid, (N,) int32 each."""

    origin: Tensor
    height: Tensor
    width: Tensor


def _locate(boxes, levels, strides, size, aligned) -> _RoIs:
    scales = ops.convert_to_tensor([1.0 / s for s in strides], "float32")
    boxes = ops.stop_gradient(ops.cast(boxes, "float32"))
    boxes = boxes * ops.expand_dims(ops.take(scales, levels), -1)
    usable = ops.all(ops.isfinite(boxes), axis=-1, keepdims=True)
    boxes = ops.where(usable, ops.clip(boxes, -FAR, FAR), -FAR)
    if aligned:
        boxes = boxes - 0.5
    left, top = boxes[:, 0], boxes[:, 1]
    width, height = boxes[:, 2] - left, boxes[:, 3] - top
    if not aligned:
        width, height = ops.maximum(width, 1.0), ops.maximum(height, 1.0)
    return _RoIs(top, left, height / size, width / size)


# === crop_and_resize form: TensorFlow, fixed sampling ===


def _crop_and_resize(features, rois, batch_indices, levels, size, ratio) -> Tensor:
    """Each level by itself, then all RoIs in their order."""
    import tensorflow as tf

    pooled, members = [], []
    for level, feature in enumerate(features):
        maps = tf.cast(feature, "float32") if feature.dtype == tf.bfloat16 else feature  # no kernel
        index = tf.where(tf.equal(levels, level))[:, 0]
        part = _RoIs(*(tf.gather(v, index) for v in rois))
        values = _pool_level(maps, part, tf.gather(batch_indices, index), size, ratio)
        pooled.append(tf.cast(values, feature.dtype))
        members.append(tf.cast(index, "int32"))
    return tf.dynamic_stitch(members, pooled)


def _pool_level(feature, rois, batch_indices, size, ratio) -> Tensor:
    """(n, P, P, C) float32 from one map, which is padded only if a sample needs it.

    Padding by one repeated pixel turns "clamp within a pixel of the border, 0 beyond" into the
    rule of `tf.image.crop_and_resize`, but it copies the map, and few RoIs reach that far.
    """
    import tensorflow as tf

    def crop():
        return _mean_of_crops(feature, rois, batch_indices, size, ratio)

    def crop_padded():
        padded = tf.pad(feature, ((0, 0), (1, 1), (1, 1), (0, 0)), "SYMMETRIC")
        shifted = rois._replace(top=rois.top + 1.0, left=rois.left + 1.0)
        return _mean_of_crops(padded, shifted, batch_indices, size, ratio)

    edge = 0.5 / ratio  # from the side of a RoI to its outermost samples, in bins
    height, width = (tf.cast(n, "float32") for n in tf.unstack(tf.shape(feature)[1:3]))
    inside = [
        rois.top + edge * rois.bin_height >= 0.0,
        rois.left + edge * rois.bin_width >= 0.0,
        rois.top + (size - edge) * rois.bin_height <= height - 1.01,  # the kernel rounds
        rois.left + (size - edge) * rois.bin_width <= width - 1.01,
    ]
    return tf.cond(tf.reduce_all(inside), crop, crop_padded)


def _mean_of_crops(feature, rois, batch_indices, size, ratio) -> Tensor:
    """Mean of the samples of each bin; one crop takes the same sample of every bin.

    The crops wait for each other: together they would be the largest tensor of the whole network.
    """
    import tensorflow as tf

    height, width = (tf.cast(n - 1, "float32") for n in tf.unstack(tf.shape(feature)[1:3]))
    total = None
    for sample in range(ratio * ratio):
        first_y = rois.top + (sample // ratio + 0.5) / ratio * rois.bin_height
        first_x = rois.left + (sample % ratio + 0.5) / ratio * rois.bin_width
        last_y = first_y + (size - 1) * rois.bin_height
        last_x = first_x + (size - 1) * rois.bin_width
        grid = tf.stack([first_y / height, first_x / width, last_y / height, last_x / width], -1)
        with tf.control_dependencies([] if total is None else [total]):
            grid = tf.identity(grid)
        crop = tf.image.crop_and_resize(feature, grid, batch_indices, [size, size])
        total = crop if total is None else total + crop
    return total / ratio**2


# === gather form: any backend ===


def _flatten_pyramid(features, batch_indices, levels) -> tuple[Tensor, _Grid]:
    """All pixels in one table (cells, C), and each RoI's place in it."""
    channels = features[0].shape[-1]
    heights = ops.stack([ops.convert_to_tensor(ops.shape(f)[1], "int32") for f in features])
    widths = ops.stack([ops.convert_to_tensor(ops.shape(f)[2], "int32") for f in features])
    cells = heights * widths * ops.convert_to_tensor(ops.shape(features[0])[0], "int32")
    table = ops.concatenate([ops.reshape(f, (-1, channels)) for f in features], axis=0)
    start = ops.take(ops.cumsum(cells) - cells, levels)
    height, width = ops.take(heights, levels), ops.take(widths, levels)
    return table, _Grid(start + batch_indices * height * width, height, width)


def _pool_fixed(table, grid, rois, counts, size, ratio) -> Tensor:
    total = 0.0
    for sample_y in range(ratio):
        for sample_x in range(ratio):
            total = total + _sample(table, grid, rois, counts, counts, sample_y, sample_x, size)
    return total / ratio**2


def _pool_adaptive(table, grid, rois, size) -> Tensor:
    """ceil(bin size) samples per axis, however many that is.

    RoIs are sorted by their counts and pooled in blocks, so that a few large or thin ones do not
    make all others loop as often. Reverse-mode gradients need a backend whose while loops have them
    (TensorFlow, torch).
    """
    number = ops.shape(rois.top)[0]
    # Fills the last block, and makes one where there are no RoIs.
    spare = [(0, BLOCK - number % BLOCK)]
    rois = _RoIs(*(ops.pad(v, spare) for v in rois))
    grid = _Grid(*(ops.pad(v, spare, constant_values=c) for v, c in zip(grid, (0, 1, 1))))
    counts_y = _count_samples(rois.bin_height, grid.height, size)
    counts_x = _count_samples(rois.bin_width, grid.width, size)
    order = ops.argsort(counts_y * 1024.0 + counts_x)
    blocks = ops.reshape(order, (-1, BLOCK))

    def pool_block(members):
        part_grid = _Grid(*(ops.take(v, members) for v in grid))
        part_rois = _RoIs(*(ops.take(v, members) for v in rois))
        gy, gx = ops.take(counts_y, members), ops.take(counts_x, members)
        columns = ops.maximum(ops.cast(ops.max(gx), "int32"), 1)
        loops = ops.cast(ops.max(gy), "int32") * columns

        def add_sample(step, total):
            sample = _sample(
                table, part_grid, part_rois, gy, gx, step // columns, step % columns, size
            )
            return step + 1, total + sample

        zeros = ops.zeros((BLOCK, size, size, table.shape[-1]), table.dtype)
        start = (ops.convert_to_tensor(0, "int32"), zeros)
        _, total = ops.while_loop(lambda step, total: step < loops, add_sample, start)
        divisor = ops.cast(ops.maximum(gy * gx, 1.0), table.dtype)
        return total / ops.reshape(divisor, (BLOCK, 1, 1, 1))

    pooled = ops.reshape(ops.map(pool_block, blocks), (-1, size, size, table.shape[-1]))
    return ops.take(pooled, ops.argsort(order)[:number], axis=0)


def _count_samples(bin_size, length, size) -> Tensor:
    """ceil(bin size), (N,) float32.

    A box four times as long as its map, or longer, is sampled more coarsely: an absurd box must
    not loop for ever.
    """
    most = ops.maximum(ops.ceil(ops.cast(4 * length, "float32") / size), 8.0)
    return ops.minimum(ops.maximum(ops.ceil(bin_size), 0.0), most)


def _sample(table, grid, rois, counts_y, counts_x, sample_y, sample_x, size) -> Tensor:
    """(N, P, P, C): one bilinear sample of every bin, number (sample_y, sample_x) of counts_y x
    counts_x.
    """
    rows = _taps(rois.top, rois.bin_height, counts_y, sample_y, grid.height, size)
    columns = _taps(rois.left, rois.bin_width, counts_x, sample_x, grid.width, size)
    value = 0.0
    for row, row_weight in rows:
        start = ops.expand_dims(grid.origin, -1) + row * ops.expand_dims(grid.width, -1)  # (N, P)
        for column, column_weight in columns:
            pixels = ops.take(table, start[:, :, None] + column[:, None, :], axis=0)  # (N, P, P, C)
            weight = row_weight[:, :, None] * column_weight[:, None, :]
            value = value + pixels * ops.cast(weight[..., None], table.dtype)
    return value


def _taps(start, bin_size, counts, sample, length, size):
    """The two neighbours of a sample point along one axis: ((index, weight), (index, weight)), (N,
    P) each.
    """
    bins = ops.arange(size, dtype="float32")
    # The reference systems' order of operations: another one moves values near x = 50 by 1e-5.
    offset = (ops.cast(sample, "float32") + 0.5) * bin_size / ops.maximum(counts, 1.0)
    point = start[:, None] + bins[None, :] * bin_size[:, None] + offset[:, None]
    limit = ops.cast(length, "float32")[:, None]
    used = ops.logical_and(point >= -1.0, point <= limit)
    used = ops.logical_and(used, (counts > ops.cast(sample, "float32"))[:, None])
    point = ops.where(used, ops.minimum(ops.maximum(point, 0.0), limit - 1.0), 0.0)
    low = ops.floor(point)
    high = ops.minimum(low + 1.0, limit - 1.0)
    weight = ops.cast(used, "float32")
    fraction = point - low
    return (
        (ops.cast(low, "int32"), (1.0 - fraction) * weight),
        (ops.cast(high, "int32"), fraction * weight),
    )
