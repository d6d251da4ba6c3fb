"""Detections from the network frame to the pixels of the pictures, in a TensorFlow graph."""

from __future__ import annotations

import tensorflow as tf


def to_original_frame(
    found: dict[str, tf.Tensor], image_sizes: tf.Tensor, picture_sizes: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Scales and clips boxes, and drops those that are empty then; the others close ranks.

    Args:
        found: What `ServingModule.detect` returns.
        image_sizes: (B, 2) int32, (height, width) of the content in the network frame.
        picture_sizes: (B, 2) int32, (height, width) of the pictures.

    Returns:
        The same, with boxes in the pixels of the pictures.
    """
    scale = tf.cast(picture_sizes, tf.float32) / tf.cast(image_sizes, tf.float32)
    boxes = found["boxes"] * _as_xyxy(scale)
    boxes = tf.minimum(tf.maximum(boxes, 0.0), _as_xyxy(tf.cast(picture_sizes, tf.float32)))
    slot = tf.range(tf.shape(boxes)[1])
    used = slot < found["num_detections"][:, None]  # (B, D)
    used &= tf.reduce_all(boxes[..., 2:] > boxes[..., :2], axis=-1)
    order = tf.argsort(tf.cast(~used, tf.int32), axis=1, stable=True)
    number = tf.reduce_sum(tf.cast(used, tf.int32), axis=1)
    used = slot < number[:, None]  # in the new order
    slots = {name: value for name, value in found.items() if name != "num_detections"}
    moved = {
        name: _zero_unless(used, tf.gather(value, order, batch_dims=1))
        for name, value in (slots | {"boxes": boxes}).items()
    }
    return moved | {"num_detections": number}


def _as_xyxy(height_and_width: tf.Tensor) -> tf.Tensor:
    """(B, 1, 4) of width, height, width, height from (B, 2)."""
    return tf.tile(height_and_width[:, ::-1], (1, 2))[:, None, :]


def _zero_unless(used: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """(B, D, ...) with zeros where `used` (B, D) is False."""
    for _ in range(values.shape.rank - 2):
        used = used[..., None]
    return tf.where(used, values, tf.zeros_like(values))
