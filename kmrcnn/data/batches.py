"""Pictures of different sizes and numbers of objects, padded to one batch (TensorFlow)."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from kmrcnn.config.data_schema import DataConfig
from kmrcnn.config.schema import InputConfig
from kmrcnn.data.preprocess import canvas_size


def to_inputs(
    rows: dict[str, tf.Tensor], input_config: InputConfig, data_config: DataConfig
) -> dict[str, Any]:
    """The model's inputs from rows that are padded to the largest of them.

    Args:
        rows: {"images": (B, h, w, C), "image_sizes": (B, 2), "image_index": (B,), "number": (B,)
            objects, "boxes": (B, n, 4), "classes": (B, n), "masks": (B, n, S, S), "mask_windows":
            (B, n, 4), "keypoints": (B, n, J, 3)}.
        input_config: Says what sizes are multiples of.
        data_config: Canvas sizes, slots, and whether there are masks and keypoints.

    Returns:
        As `make_pipeline` documents.
    """
    slots = _round_up(tf.reduce_max(rows["number"]), data_config.slots)
    names = ["boxes", "classes"]
    names += ["masks", "mask_windows"] if data_config.masks else []
    names += ["keypoints"] if data_config.keypoints else []
    targets = {name: _pad(rows[name], (slots,)) for name in names}
    targets["valid"] = tf.sequence_mask(rows["number"], slots)
    canvas = _canvas(tf.reduce_max(rows["image_sizes"], axis=0), input_config, data_config)
    return {
        "images": _pad(rows["images"], canvas),
        "image_sizes": rows["image_sizes"],
        "image_index": rows["image_index"],
        "targets": targets,
    }


def check_canvas_sizes(input_config: InputConfig, data_config: DataConfig) -> None:
    """Raises ValueError where a canvas size is no multiple of the model's padding."""
    for size in data_config.canvas_sizes:
        if canvas_size(size, input_config.pad_multiple) != tuple(size):
            raise ValueError(
                "`data.canvas_sizes` must be multiples of `input.pad_multiple` "
                f"({input_config.pad_multiple}). Received: {size}"
            )


def _canvas(
    largest: tf.Tensor, input_config: InputConfig, data_config: DataConfig
) -> tuple[tf.Tensor, tf.Tensor]:
    """Height and width of the batch: the smallest canvas that holds `largest` (2,), else the next
    multiple.
    """
    multiple = input_config.pad_multiple
    chosen = -(-largest // multiple) * multiple
    by_area = sorted(data_config.canvas_sizes, key=lambda size: size[0] * size[1])
    for size in reversed(by_area):  # the smallest that fits has the last word
        chosen = tf.where(tf.reduce_all(largest <= size), tf.constant(size), chosen)
    return chosen[0], chosen[1]


def _round_up(number: tf.Tensor, steps: tuple[int, ...]) -> tf.Tensor:
    """The first of the ascending `steps` that is at least `number`, which the last one is."""
    return tf.constant(steps)[tf.searchsorted(steps, [number])[0]]


def _pad(values: tf.Tensor, lengths: tuple[tf.Tensor, ...]) -> tf.Tensor:
    """Zeros after the values, along the axes from 1 on, up to `lengths`."""
    shape = values.shape.as_list()
    after = [0] * len(shape)
    for axis, length in enumerate(lengths, start=1):
        after[axis] = length - tf.shape(values)[axis]
        shape[axis] = None
    padded = tf.pad(values, [(0, number) for number in after])
    return tf.ensure_shape(padded, shape)  # `pad` may forget which axes keep their length
