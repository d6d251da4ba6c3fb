"""RoIAlign with fixed sampling out of `tf.image.crop_and_resize`: TensorFlow without a compiler.

`crop_and_resize` samples one point per cell of a regular grid; placed on sample (i, j) of every bin
it gives that sample, and the mean over (i, j) is RoIAlign. Exact, on the CPU and the GPU.
"""

from __future__ import annotations

import tensorflow as tf

from kmrcnn.custom_ops.roi_align.arguments import RoIArguments
from kmrcnn.custom_ops.roi_align.reference import RoIs, assign_levels, locate


def roi_align(arguments: RoIArguments, sampling_ratio: int, aligned: bool):
    """Pool each box from its level, (N, P, Q, C).

    Each level by itself, then all RoIs in their order.
    """
    features, output_size = arguments.features, arguments.output_size
    levels = assign_levels(arguments.boxes, arguments.level_areas)
    rois = locate(arguments, levels, aligned)
    images = tf.clip_by_value(arguments.batch_indices, 0, tf.shape(features[0])[0] - 1)
    pooled, members = [], []
    for level, feature in enumerate(features):
        maps = tf.cast(feature, "float32") if feature.dtype == tf.bfloat16 else feature  # no kernel
        index = tf.where(tf.equal(levels, level))[:, 0]
        part = RoIs(*(tf.gather(v, index) for v in rois))
        values = _pool_level(maps, part, tf.gather(images, index), output_size, sampling_ratio)
        pooled.append(tf.cast(values, feature.dtype))
        members.append(tf.cast(index, "int32"))
    pooled = tf.dynamic_stitch(members, pooled)
    return tf.reshape(pooled, (-1, *output_size, features[0].shape[-1]))


def _pool_level(feature, rois, images, output_size, ratio):
    """(n, P, Q, C) float32 from one map, which is padded only if a sample needs it.

    Padding by one repeated cell turns "clamp within a cell of the border, 0 beyond" into the rule
    of `tf.image.crop_and_resize`, but it copies the map, and few RoIs reach that far.
    """

    def crop():
        return _mean_of_crops(feature, rois, images, output_size, ratio)

    def crop_padded():
        padded = tf.pad(feature, ((0, 0), (1, 1), (1, 1), (0, 0)), "SYMMETRIC")
        shifted = rois._replace(top=rois.top + 1.0, left=rois.left + 1.0)
        return _mean_of_crops(padded, shifted, images, output_size, ratio)

    edge = 0.5 / ratio  # from the side of a RoI to its outermost samples, in bins
    height, width = (tf.cast(n, "float32") for n in tf.unstack(tf.shape(feature)[1:3]))
    inside = [
        rois.top + edge * rois.bin_height >= 0.0,
        rois.left + edge * rois.bin_width >= 0.0,
        # The kernel rounds, hence 1.01.
        rois.top + (output_size[0] - edge) * rois.bin_height <= height - 1.01,
        rois.left + (output_size[1] - edge) * rois.bin_width <= width - 1.01,
    ]
    return tf.cond(tf.reduce_all(inside), crop, crop_padded)


def _mean_of_crops(feature, rois, images, output_size, ratio):
    """Mean of the samples of each bin; one crop takes the same sample of every bin.

    The crops wait for each other: together they would be the largest tensor of the whole network.
    """
    height, width = (tf.cast(n - 1, "float32") for n in tf.unstack(tf.shape(feature)[1:3]))
    total = None
    for sample in range(ratio * ratio):
        first_y = rois.top + (sample // ratio + 0.5) / ratio * rois.bin_height
        first_x = rois.left + (sample % ratio + 0.5) / ratio * rois.bin_width
        last_y = first_y + (output_size[0] - 1) * rois.bin_height
        last_x = first_x + (output_size[1] - 1) * rois.bin_width
        grid = tf.stack([first_y / height, first_x / width, last_y / height, last_x / width], -1)
        with tf.control_dependencies([] if total is None else [total]):
            grid = tf.identity(grid)
        crop = tf.image.crop_and_resize(feature, grid, images, output_size)
        total = crop if total is None else total + crop
    return total / ratio**2
