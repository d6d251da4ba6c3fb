"""Sizes of pictures in the network frame, as whole pixels, in a TensorFlow graph."""

from __future__ import annotations

import tensorflow as tf

from kmrcnn.config.schema import InputConfig

MIN_SIDE = 2  # pixels, as for `Predictor`


def network_sizes(sizes: tf.Tensor, config: InputConfig) -> tf.Tensor:
    """`kmrcnn.data.preprocess.network_size` of many pictures.

    In float64 and in the same order of operations: a side that lies on a whole number, as those
    with a simple ratio do, must not fall to the other side of it.

    Args:
        sizes: (B, 2) int32, (height, width).
        config: Target size and rounding.

    Returns:
        (B, 2) int32.

    Raises:
        InvalidArgumentError: When run: a picture is tiny, or would shrink to nothing.
    """
    tiny = tf.debugging.Assert(
        tf.reduce_all(sizes >= MIN_SIDE),
        [f"A picture needs at least {MIN_SIDE} x {MIN_SIDE} pixels. (height, width):", sizes],
    )
    with tf.control_dependencies([tiny]):
        sides = tf.cast(sizes, tf.float64)
    resized = tf.cast(ROUNDINGS[config.size_rounding](sides, config), tf.int32)
    elongated = tf.debugging.Assert(
        tf.reduce_all(resized >= 1),
        ["A picture is too elongated. (height, width):", sizes, "would become", resized],
    )
    with tf.control_dependencies([elongated]):
        return tf.identity(resized)


def canvas_size(sizes: tf.Tensor, multiple: int) -> tf.Tensor:
    """(2,) int32, the smallest (height, width) of multiples that holds pictures (B, 2)."""
    largest = tf.reduce_max(sizes, axis=0)
    return (largest + multiple - 1) // multiple * multiple


def _rounded_down(sides: tf.Tensor, config: InputConfig) -> tf.Tensor:
    """torchvision: one scale, rounded down."""
    short, long = _extremes(sides)
    scale = tf.minimum(_goal(short, config) / short, config.long_side / long)
    return tf.floor(sides * scale)


def _rounded_half_up(sides: tf.Tensor, config: InputConfig) -> tf.Tensor:
    """Detectron2: the short side is exact, the other rounded half up."""
    short, _ = _extremes(sides)
    goal = _goal(short, config)
    resized = tf.where(sides == short, goal, sides * (goal / short))
    _, longest = _extremes(resized)
    shrink = tf.where(longest > config.long_side, config.long_side / longest, 1.0)
    return tf.floor(resized * shrink + 0.5)


def _rounded_half_even(sides: tf.Tensor, config: InputConfig) -> tf.Tensor:
    """Matterport: one scale, rounded."""
    short, long = _extremes(sides)
    scale = _goal(short, config) / short
    too_long = tf.round(long * scale) > config.long_side
    return tf.round(sides * tf.where(too_long, config.long_side / long, scale))


def _goal(short: tf.Tensor, config: InputConfig) -> tf.Tensor:
    """What the shorter side (B, 1) would become without the limit on the longer one."""
    goal = tf.maximum(tf.cast(config.short_side, tf.float64), short * config.min_scale)
    return tf.maximum(goal, short) if config.enlarge_only else goal


def _extremes(sides: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The shorter and the longer side, (B, 1) each."""
    return tf.reduce_min(sides, axis=1, keepdims=True), tf.reduce_max(sides, axis=1, keepdims=True)


ROUNDINGS = {
    "floor": _rounded_down,
    "half_up": _rounded_half_up,
    "half_even": _rounded_half_even,
}
