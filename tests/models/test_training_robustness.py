"""Losses and gradients stay finite whatever the annotations are like."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from kmrcnn.models.build import build_model
from tests.layer_check import dtype_policy
from tests.tiny import tiny_inputs, tiny_model

BAD_BOXES = [
    [10, 10, 10, 10],  # no area
    [20, 20, 21, 21],  # one pixel
    [30, 30, 30, 60],  # no width
    [50, 50, 40, 40],  # inverted
    [-30, -30, 5, 5],  # partly outside
    [500, 500, 600, 600],  # outside
    [0, 0, 96, 96],  # everything
    [5, 5, 5.001, 80],  # a hair
]


def random_targets(draw, batch, slots):
    """Any mixture of good boxes, bad ones, empty slots, empty masks and windows without area."""
    corners = draw.uniform(0, 60, (batch, slots, 2))
    boxes = np.concatenate([corners, corners + draw.uniform(1, 40, (batch, slots, 2))], -1)
    bad = draw.random((batch, slots)) < draw.choice([0, 0.3, 1])
    boxes[bad] = np.array(BAD_BOXES)[draw.integers(0, len(BAD_BOXES), bad.sum())]
    windows = np.where(draw.random((batch, slots, 1)) < 0.9, boxes, 0)
    return {
        "boxes": boxes.astype("float32"),
        "classes": draw.integers(0, 5, (batch, slots)).astype("int32"),
        "valid": draw.random((batch, slots)) < draw.choice([0, 0.5, 1]),
        "masks": (draw.random((batch, slots, 28, 28)) < draw.choice([0, 0.5, 1])).astype("uint8"),
        "mask_windows": windows.astype("float32"),
    }


@pytest.fixture(params=["smooth_l1", "giou"])
def step(request):
    """Losses by name, and all gradients, of a batch."""
    config = tiny_model().config
    kind = {"box_loss": request.param}
    config = replace(config, rpn=replace(config.rpn, **kind), box=replace(config.box, **kind))
    model = build_model(config)
    variables = [v.value for v in model.trainable_variables]

    @tf.function(reduce_retracing=True)
    def run(inputs):
        with tf.GradientTape() as tape:
            losses = model(inputs, training=True)
            total = tf.add_n(list(losses.values()))
        return losses, [g for g in tape.gradient(total, variables) if g is not None]

    return run


def check_batches(step, number):
    inputs = tiny_inputs()
    draw = np.random.default_rng(0)
    for batch in range(number):
        targets = random_targets(draw, len(inputs["images"]), 6)
        losses, gradients = step(inputs | {"targets": targets})
        for name, value in losses.items():
            assert np.isfinite(value), (batch, name)
        assert gradients
        assert all(np.isfinite(g).all() for g in map(tf.convert_to_tensor, gradients)), batch


def test_ten_random_batches_are_finite(step):
    check_batches(step, 10)


@pytest.mark.slow
def test_five_hundred_random_batches_are_finite(step):
    check_batches(step, 500)


def test_mixed_precision_is_finite():
    with dtype_policy("mixed_float16"):
        model = tiny_model()
    draw = np.random.default_rng(1)
    inputs = tiny_inputs()
    for _ in range(3):
        targets = random_targets(draw, len(inputs["images"]), 6)
        losses = model(inputs | {"targets": targets}, training=True)
        assert all(np.isfinite(float(value)) for value in losses.values())
