"""Detections from the network frame to the pixels of the pictures, in a TensorFlow graph."""

from __future__ import annotations

import tensorflow as tf


def to_original_frame(
    found: dict[str, tf.Tensor],
    image_sizes: tf.Tensor,
    picture_sizes: tf.Tensor,
    box_ends: str = "edge",
) -> dict[str, tf.Tensor]:
    """Scales and clips boxes, and drops those that are empty then; the others close ranks.

    Args:
        found: What `ServingModule.detect` returns.
        image_sizes: (B, 2) int32, (height, width) of the content in the network frame.
        picture_sizes: (B, 2) int32, (height, width) of the pictures.
        box_ends: `anchors.box_ends` of the model, see `kmrcnn.postprocess.to_original`.

    Returns:
        The same, with boxes and keypoints in the pixels of the pictures.
    """
    slots = {name: value for name, value in found.items() if name != "num_detections"}
    if "keypoints" in slots:
        slots["keypoints"] *= _keypoint_scale(image_sizes, picture_sizes)
    boxes = SCALINGS[box_ends](slots["boxes"], image_sizes, picture_sizes)
    boxes = tf.minimum(tf.maximum(boxes, 0.0), _as_xyxy(tf.cast(picture_sizes, tf.float32)))
    slots["boxes"] = boxes
    slot = tf.range(tf.shape(boxes)[1])
    used = slot < found["num_detections"][:, None]  # (B, D)
    used &= tf.reduce_all(boxes[..., 2:] > boxes[..., :2], axis=-1)
    order = tf.argsort(tf.cast(~used, tf.int32), axis=1, stable=True)
    number = tf.reduce_sum(tf.cast(used, tf.int32), axis=1)
    used = slot < number[:, None]  # in the new order
    moved = {
        name: _zero_unless(used, tf.gather(value, order, batch_dims=1))
        for name, value in slots.items()
    }
    return moved | {"num_detections": number}


def _scale_edges(boxes: tf.Tensor, image_sizes: tf.Tensor, picture_sizes: tf.Tensor) -> tf.Tensor:
    """(B, D, 4) with the edges of the content on those of the picture."""
    return boxes * _as_xyxy(_scale(image_sizes, picture_sizes))


def _scale_pixel_numbers(
    boxes: tf.Tensor, image_sizes: tf.Tensor, picture_sizes: tf.Tensor
) -> tf.Tensor:
    """(B, D, 4) with pixel 0 and the last pixel of the content on those of the picture."""
    network = tf.cast(image_sizes, tf.float64) - 1.0
    original = tf.cast(picture_sizes, tf.float64) - 1.0
    scale = _as_xyxy(original / tf.maximum(network, 1.0))
    last = tf.constant([0.0, 0.0, 1.0, 1.0], tf.float64)
    return tf.cast(tf.round((tf.cast(boxes, tf.float64) - last) * scale) + last, tf.float32)


def _keypoint_scale(image_sizes: tf.Tensor, picture_sizes: tf.Tensor) -> tf.Tensor:
    """(B, 1, 1, 3) for x, y, score."""
    scale = _scale(image_sizes, picture_sizes)
    return tf.concat([scale[:, ::-1], tf.ones_like(scale[:, :1])], axis=1)[:, None, None, :]


def _scale(image_sizes: tf.Tensor, picture_sizes: tf.Tensor) -> tf.Tensor:
    """(B, 2) float32, of height and width."""
    return tf.cast(picture_sizes, tf.float32) / tf.cast(image_sizes, tf.float32)


def _as_xyxy(height_and_width: tf.Tensor) -> tf.Tensor:
    """(B, 1, 4) of width, height, width, height from (B, 2)."""
    return tf.tile(height_and_width[:, ::-1], (1, 2))[:, None, :]


def _zero_unless(used: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """(B, D, ...) with zeros where `used` (B, D) is False."""
    for _ in range(values.shape.rank - 2):
        used = used[..., None]
    return tf.where(used, values, tf.zeros_like(values))


SCALINGS = {"edge": _scale_edges, "last_pixel": _scale_pixel_numbers}
