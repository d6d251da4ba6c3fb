"""RoIAlign for LiteRT: the reference form in operators that its loops and its converter know.

Gathers and products, as in the reference, are the fastest exact form there: contracting the samples
of a bin by matrix products, or rows before columns, took 1.1 to 2 times as long on a CPU.
"""

from __future__ import annotations

import tensorflow as tf

from kmrcnn.custom_ops.roi_align import reference
from kmrcnn.custom_ops.roi_align.arguments import RoIArguments
from kmrcnn.custom_ops.roi_align.reference import Grid, RoIs


def roi_align(arguments: RoIArguments, sampling_ratio: int, aligned: bool) -> tf.Tensor:
    """Pool each box from its level, (N, P, Q, C); a form of `kmrcnn.custom_ops.roi_align`.

    Adaptive sampling is exact. All boxes of a call loop as often as the one with the most samples
    needs, so it wants few boxes at a time: `Lowering.block_cells`.
    """
    features = arguments.features
    levels = reference.assign_levels(arguments.boxes, arguments.level_areas)
    rois = reference.locate(arguments, levels, aligned)
    grid = reference.find_maps(features, arguments.batch_indices, levels)
    # Where the maps come from, not inside the loop over blocks: nothing takes constant work out of
    # a loop, and copying the pyramid for every block would cost more than pooling.
    with features[0].graph.as_default():
        table = reference.join_maps(features)
    if sampling_ratio:
        return reference.pool_fixed(table, grid, rois, arguments.output_size, sampling_ratio)
    return _pool_adaptive(table, grid, rois, arguments.output_size)


def _pool_adaptive(table, grid: Grid, rois: RoIs, output_size: tuple[int, int]) -> tf.Tensor:
    """ceil(bin size) samples per axis, one sample of every bin at a time."""
    counts_y = reference.count_samples(rois.bin_height, grid.height, output_size[0])
    counts_x = reference.count_samples(rois.bin_width, grid.width, output_size[1])
    columns = tf.maximum(tf.cast(tf.reduce_max(counts_x), tf.int32), 1)
    loops = tf.cast(tf.reduce_max(counts_y), tf.int32) * columns

    def add_sample(step, total):
        sample = reference.sample(
            table, grid, rois, counts_y, counts_x, step // columns, step % columns, output_size
        )
        return step + 1, total + sample

    zeros = tf.zeros((rois.top.shape[0], *output_size, table.shape[-1]), table.dtype)
    _, total = tf.while_loop(lambda step, _: step < loops, add_sample, (tf.constant(0), zeros))
    divisor = tf.maximum(counts_y * counts_x, 1.0)[:, None, None, None]
    return total / tf.cast(divisor, table.dtype)
