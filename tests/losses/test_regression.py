"""Regression losses: generalised IoU against torchvision, and the choice between the two."""

import numpy as np
import pytest
import tensorflow as tf

from kmrcnn.losses.regression import generalized_iou_loss, regression_loss
from kmrcnn.targets import box_coder

UNIT = (1.0, 1.0, 1.0, 1.0)


def test_values_and_gradients_equal_torchvision(cases_dir):
    arrays = np.load(cases_dir / "nms_iou.npz")
    boxes = tf.constant(arrays["loss_boxes"])
    with tf.GradientTape() as tape:
        tape.watch(boxes)
        losses = generalized_iou_loss(boxes, arrays["iou_b"])
    np.testing.assert_allclose(losses, arrays["giou_loss"], atol=1e-5)
    gradient = tape.gradient(losses, boxes)
    np.testing.assert_allclose(gradient, arrays["giou_loss_grad"], atol=1e-5)


@pytest.mark.parametrize(
    "a, b, want",
    [
        ([0, 0, 2, 2], [0, 0, 2, 2], 0),
        ([0, 0, 2, 2], [1, 0, 3, 2], 1 - 2 / 6),
        ([0, 0, 1, 1], [3, 0, 4, 1], 1 + (4 - 2) / 4),  # apart: the hull has 4 pixels
    ],
)
def test_hand_checked(a, b, want):
    loss = generalized_iou_loss(tf.constant([a], "float32"), tf.constant([b], "float32"))
    np.testing.assert_allclose(loss, [want], atol=1e-6)


def test_boxes_without_area_are_finite():
    boxes = tf.constant([[1.0, 1, 1, 1], [5, 5, 2, 2], [0, 0, 3, 0]])
    with tf.GradientTape() as tape:
        tape.watch(boxes)
        loss = generalized_iou_loss(boxes, tf.constant([[1.0, 1, 1, 1]] * 3))
    assert np.isfinite(loss).all() and np.isfinite(tape.gradient(loss, boxes)).all()


def test_giou_of_deltas_is_that_of_the_decoded_boxes():
    references = np.array([[10, 10, 30, 50], [0, 0, 8, 8]], "float32")
    boxes = np.array([[12, 9, 33, 47], [1, 1, 9, 12]], "float32")
    goals = box_coder.encode(boxes, references, UNIT)
    loss = regression_loss("giou", 0.0, references, UNIT)
    np.testing.assert_allclose(loss(goals, goals), 0, atol=1e-5)
    want = generalized_iou_loss(references, boxes)
    np.testing.assert_allclose(loss(np.zeros((2, 4), "float32"), goals), want, atol=1e-5)


def test_smooth_l1_adds_up_the_four_deltas():
    loss = regression_loss("smooth_l1", 1.0, None, None)
    deltas = np.array([[0.5, -0.5, 2.0, 0.0]], "float32")
    np.testing.assert_allclose(loss(deltas, np.zeros_like(deltas)), [0.125 + 0.125 + 1.5])
