"""Loss of heatmaps, by hand and against the reference, with its gradient."""

import numpy as np
import pytest
import tensorflow as tf

from kmrcnn.losses.keypoint import keypoint_loss


def test_by_hand():
    logits = np.zeros((1, 2, 2, 2), "float32")
    logits[0, 1, 0, 0] = np.log(5)  # cell 2 of the first keypoint: 5 of 8
    cells, both = np.array([[2, 1]], "int32"), np.ones((1, 2), bool)
    want = np.log(8 / 5), np.log(4)
    assert float(keypoint_loss(logits, cells, both)) == pytest.approx(sum(want) / 2)
    first = np.array([[True, False]])
    assert float(keypoint_loss(logits, cells, first)) == pytest.approx(want[0])
    assert float(keypoint_loss(logits, cells, both, 10.0)) == pytest.approx(sum(want) / 10)


def test_nothing_visible():
    logits, cells = np.full((1, 2, 2, 1), 3e4, "float32"), np.zeros((1, 1), "int32")
    assert float(keypoint_loss(logits, cells, np.zeros((1, 1), bool))) == 0


def test_no_rois():
    logits = tf.zeros((0, 4, 4, 3))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = keypoint_loss(logits, np.zeros((0, 3), "int32"), np.zeros((0, 3), bool))
    assert float(loss) == 0 and tape.gradient(loss, logits).shape == (0, 4, 4, 3)


def test_reference_case(cases_dir):
    case = np.load(cases_dir / "keypoints.npz")
    logits = tf.constant(np.moveaxis(case["logits"], 1, -1))
    cells, valid = case["tv_target"].astype("int32"), case["tv_valid"].astype(bool)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = keypoint_loss(logits, tf.constant(cells), valid)
    np.testing.assert_allclose(float(loss), case["tv_loss"], rtol=1e-5)
    gradient = np.moveaxis(np.asarray(tape.gradient(loss, logits)), -1, 1)
    np.testing.assert_allclose(gradient, case["tv_loss_grad"], atol=1e-5, rtol=1e-3)
