"""Resizing and padding in a TensorFlow graph, by the model's own filter."""

from __future__ import annotations

import tensorflow as tf

from kmrcnn.config.schema import InputConfig

PRECISION_BITS = 22  # of Pillow's fixed-point weights for 8-bit pictures


def resize(images: tf.Tensor, size: tf.Tensor, config: InputConfig) -> tf.Tensor:
    """`kmrcnn.data.preprocess.to_network` without the order of the channels.

    Args:
        images: (B, h, w, C) uint8.
        size: (2,) int32, the wanted (height, width).
        config: The filter.

    Returns:
        (B, height, width, C) float32, 0-255.
    """
    resized = FILTERS[config.resize](images, size)
    return tf.ensure_shape(resized, (None, None, None, config.channels))


def pad(images: tf.Tensor, canvas: tf.Tensor) -> tf.Tensor:
    """Zeros below and on the right of (B, h, w, C) up to a canvas (height, width)."""
    below, right = tf.unstack(canvas - tf.shape(images)[1:3])
    return tf.pad(images, [[0, 0], [0, below], [0, right], [0, 0]])


def _resize_bilinear(images: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Half-pixel bilinear, no antialiasing; 1e-4 off for the order of its float32 sums."""
    return tf.image.resize(images, size, method="bilinear", antialias=False)


def _resize_antialiased(images: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Pillow's antialiased bilinear filter on 8-bit pictures, bit for bit.

    Along the rows first, rounded to 8 bits, then along the columns, each as a product with a sparse
    matrix. Pillow from 13 on takes the columns of some tall pictures first, and rounds a tenth of
    the pixels to the other neighbour.
    """
    height, width = tf.unstack(size)
    columns_first = tf.transpose(images, (2, 0, 1, 3))  # (w, B, h, C)
    columns_first = _resize_first_axis(columns_first, width)
    rows_first = tf.transpose(columns_first, (2, 1, 0, 3))  # (h, B, width, C)
    rows_first = _resize_first_axis(rows_first, height)
    return tf.cast(tf.transpose(rows_first, (1, 0, 2, 3)), tf.float32)


def _resize_first_axis(values: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """(length, ...) uint8 from (n, ...) uint8."""
    shape = tf.shape(values)
    flat = tf.cast(tf.reshape(values, (shape[0], -1)), tf.int32)
    sums = tf.sparse.sparse_dense_matmul(_fixed_point_weights(shape[0], length), flat)
    half = 1 << (PRECISION_BITS - 1)
    rounded = tf.bitwise.right_shift(sums + half, PRECISION_BITS)  # weights sum to 1: no clipping
    return tf.reshape(tf.cast(rounded, tf.uint8), tf.concat([[length], shape[1:]], axis=0))


def _fixed_point_weights(available: tf.Tensor, length: tf.Tensor) -> tf.SparseTensor:
    """(length, available) int32: a triangle as wide as two input or output pixels, if larger.

    In float64 as Pillow computes them (Resample.c, precompute_coeffs).
    """
    scale = tf.cast(available, tf.float64) / tf.cast(length, tf.float64)
    reach = tf.maximum(scale, 1.0)
    centres = (tf.range(length, dtype=tf.float64) + 0.5) * scale
    first = tf.maximum(tf.cast(centres - reach + 0.5, tf.int32), 0)
    end = tf.minimum(tf.cast(centres + reach + 0.5, tf.int32), available)
    index = first[:, None] + tf.range(tf.reduce_max(end - first))  # (length, taps)
    distance = tf.abs(tf.cast(index, tf.float64) - centres[:, None] + 0.5) * (1.0 / reach)
    weights = tf.where(index < end[:, None], tf.maximum(1.0 - distance, 0.0), 0.0)
    weights /= tf.reduce_sum(weights, axis=1, keepdims=True)
    fixed = tf.cast(weights * (1 << PRECISION_BITS) + 0.5, tf.int32)
    used = tf.where(fixed > 0)  # (number, 2) row, tap
    places = tf.stack([used[:, 0], tf.cast(tf.gather_nd(index, used), tf.int64)], axis=1)
    shape = tf.cast(tf.stack([length, available]), tf.int64)
    return tf.SparseTensor(places, tf.gather_nd(fixed, used), shape)


def _resize_black_border(images: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Half-pixel bilinear, blended with 0 beyond the border as scikit-image does by default;
    within the picture's range of values, cut to whole numbers.
    """
    values = tf.cast(images, tf.float64)
    lowest = tf.reduce_min(values, axis=(1, 2, 3), keepdims=True)
    highest = tf.reduce_max(values, axis=(1, 2, 3), keepdims=True)
    for axis in (1, 2):
        length = size[axis - 1]
        scale = tf.cast(tf.shape(values)[axis], tf.float64) / tf.cast(length, tf.float64)
        position = (tf.range(length, dtype=tf.float64) + 0.5) * scale - 0.5
        low = tf.floor(position)
        fraction = tf.reshape(position - low, (-1, 1, 1) if axis == 1 else (-1, 1))
        padded = tf.pad(values, [[1, 1] if i == axis else [0, 0] for i in range(4)])
        index = tf.cast(low, tf.int32) + 1
        at_low, at_high = (
            tf.gather(padded, index, axis=axis),
            tf.gather(padded, index + 1, axis=axis),
        )
        values = at_low * (1.0 - fraction) + at_high * fraction
    return tf.cast(tf.floor(tf.minimum(tf.maximum(values, lowest), highest)), tf.float32)


FILTERS = {
    "bilinear": _resize_bilinear,
    "antialiased_uint8": _resize_antialiased,
    "black_border_uint8": _resize_black_border,
}
