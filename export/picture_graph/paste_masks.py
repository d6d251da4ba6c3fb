"""Small masks onto the pictures, in a TensorFlow graph: `kmrcnn.postprocess.paste_masks`."""

from __future__ import annotations

import tensorflow as tf

from kmrcnn.config.schema import MaskConfig


def paste_masks(
    masks: tf.Tensor,
    boxes: tf.Tensor,
    num_detections: tf.Tensor,
    picture_sizes: tf.Tensor,
    config: MaskConfig,
) -> tf.Tensor:
    """Puts each mask where its box is.

    Args:
        masks: (B, D, M, M) float32 probabilities, the mask of the whole box.
        boxes: (B, D, 4) float32, xyxy, in the pixels of the pictures.
        num_detections: (B,) int32; the slots after them stay empty.
        picture_sizes: (B, 2) int32, (height, width).
        config: Rule and threshold.

    Returns:
        (B, D, H, W) uint8, 0 or 1. H and W are the largest height and width; a smaller picture is
        above and on the left.
    """
    size = masks.shape[-1]
    slots = tf.shape(masks)[1]
    canvas = tf.reduce_max(picture_sizes, axis=0)

    def paste_slot(slot):
        image, place = slot // slots, slot % slots

        def paste():
            height, width = tf.unstack(picture_sizes[image])
            left, top, right, bottom = tf.unstack(boxes[image, place])
            mask = tf.reshape(masks[image, place], (size, size))
            pasted = _paste(mask, (top, bottom), (left, right), (height, width), config)
            return tf.pad(pasted, [[0, canvas[0] - height], [0, canvas[1] - width]])

        return tf.cond(place < num_detections[image], paste, lambda: tf.zeros(canvas, tf.uint8))

    # one at a time: all of them in float32 would be four times the result
    pasted = tf.map_fn(
        paste_slot,
        tf.range(tf.shape(masks)[0] * slots),
        fn_output_signature=tf.TensorSpec((None, None), tf.uint8),
        parallel_iterations=2,
    )
    return tf.reshape(pasted, tf.concat([tf.shape(masks)[:2], canvas], axis=0))


def _paste(mask, rows: tuple, columns: tuple, picture_size: tuple, config: MaskConfig) -> tf.Tensor:
    """(H, W) uint8 of one mask (M, M) whose box spans `rows` and `columns`, (start, end) each."""
    axis_weights = RULES[config.paste]
    size = mask.shape[0]
    row_weights, in_rows = axis_weights(*rows, size, picture_size[0])
    column_weights, in_columns = axis_weights(*columns, size, picture_size[1])
    values = row_weights @ mask @ tf.transpose(column_weights)
    if config.paste == "resize_into_box":
        values = tf.maximum(values, tf.reduce_min(mask))
    inside = in_rows[:, None] & in_columns[None, :]
    return tf.cast(inside & (values >= config.threshold), tf.uint8)


def _sample_at_centres(start, end, size: int, length) -> tuple[tf.Tensor, tf.Tensor]:
    """Weights (length, M), and which pixels (length,) count: Detectron2."""
    pixels = tf.range(length, dtype=tf.float32)
    inside = (pixels >= tf.floor(start) - 1.0) & (pixels < tf.math.ceil(end) + 1.0)
    position = (pixels + 0.5 - start) / (end - start) * 2.0 - 1.0
    position = ((position + 1.0) * size - 1.0) / 2.0
    low = tf.floor(position)
    return _two_taps(low, low + 1.0, position - low, size), inside


def _resize_into_box(start, end, size: int, length) -> tuple[tf.Tensor, tf.Tensor]:
    """The same, of the pixels of a box that is taken to have whole sides: Matterport."""
    begin, finish = tf.cast(tf.round(start), tf.int32), tf.cast(tf.round(end), tf.int32)
    pixels = tf.range(length)
    inside = (pixels >= begin) & (pixels < finish)
    scale = tf.cast(size / tf.maximum(finish - begin, 1), tf.float64)
    position = (tf.cast(pixels - begin, tf.float64) + 0.5) * scale - 0.5
    low = tf.floor(position)
    fraction = tf.cast(position - low, tf.float32)
    low = tf.cast(low, tf.float32)
    return _two_taps(low, low + 1.0, fraction, size), inside


def _resize_to_integer_box(start, end, size: int, length) -> tuple[tf.Tensor, tf.Tensor]:
    """The same for a mask with a border of one zero, resized to a box of whole pixels:
    torchvision.
    """
    padded = size + 2
    start, end = tf.cast(start, tf.float64), tf.cast(end, tf.float64)
    centre = tf.cast((start + end) * 0.5, tf.float32)
    half = tf.cast((end - start) * 0.5 * (padded / size), tf.float32)
    begin, finish = tf.cast(centre - half, tf.int32), tf.cast(centre + half, tf.int32)
    scale = tf.cast(padded / tf.maximum(finish - begin + 1, 1), tf.float32)
    index = tf.range(length) - begin
    inside = (index >= 0) & (tf.range(length) <= finish)
    position = tf.maximum((tf.cast(index, tf.float32) + 0.5) * scale - 0.5, 0.0)
    low = tf.minimum(tf.floor(position), padded - 1.0)
    high = tf.minimum(low + 1.0, padded - 1.0)
    weights = _two_taps(low, high, position - low, padded)
    return weights[:, 1:-1], inside  # the border is zero


def _two_taps(low, high, fraction, size: int) -> tf.Tensor:
    """Weights (pixels, size) with 1 - fraction at `low` and fraction at `high`, where those
    exist.
    """
    index = tf.range(size, dtype=tf.float32)
    at_low = tf.where(index == low[:, None], (1.0 - fraction)[:, None], 0.0)
    at_high = tf.where(index == high[:, None], fraction[:, None], 0.0)
    return at_low + at_high


RULES = {
    "grid_sample": _sample_at_centres,
    "integer_box": _resize_to_integer_box,
    "resize_into_box": _resize_into_box,
}
