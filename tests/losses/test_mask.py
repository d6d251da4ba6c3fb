"""Mask loss against torchvision's."""

import numpy as np
import tensorflow as tf

from kmrcnn.losses.mask import mask_loss, multinomial_mask_loss


def loss_and_gradient(logits, targets, valid):
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = mask_loss(logits, targets, valid)
    return float(loss), np.asarray(tape.gradient(loss, logits))


def test_value_and_gradient_equal_torchvision(cases_dir):
    arrays = np.load(cases_dir / "masks.npz")
    rois = np.arange(8)
    classes = arrays["gt_labels"][arrays["matched"]]
    loss, gradient = loss_and_gradient(
        arrays["mask_logits"][rois, classes], arrays["tv_targets28"], np.ones(8, bool)
    )
    np.testing.assert_allclose(loss, arrays["tv_mask_loss"], rtol=1e-5)
    want = arrays["tv_mask_loss_grad"][rois, classes].astype("float32")  # stored as float16
    assert np.abs(want).max() > 1e-5
    np.testing.assert_allclose(gradient, want, rtol=2e-3, atol=1e-7)


def test_invalid_rois_do_not_count():
    draw = np.random.default_rng(0)
    logits = draw.standard_normal((5, 4, 4)).astype("float32")
    targets = draw.random((5, 4, 4), dtype="float32")
    valid = np.array([True, False, True, True, False])
    want, _ = loss_and_gradient(logits[valid], targets[valid], valid[valid])
    got, gradient = loss_and_gradient(logits, targets, valid)
    assert got == np.float32(want) and (gradient[~valid] == 0).all()


def test_zero_without_rois():
    for number in (0, 3):
        blank = np.zeros((number, 4, 4), "float32")
        loss, gradient = loss_and_gradient(blank, blank, np.zeros(number, bool))
        assert loss == 0 and (gradient == 0).all()


def test_multinomial_loss_by_hand():
    """Two pixels of class 0 of 2, one inside the mask, one outside."""
    logits = np.log(np.array([[[[0.5, 0.3, 0.2], [0.1, 0.3, 0.6]]]], "float32"))
    targets, classes = np.array([[[1.0, 0.0]]], "float32"), np.array([0], "int32")
    loss = multinomial_mask_loss(logits, classes, targets, np.array([True]))
    np.testing.assert_allclose(loss, -(np.log(0.5) + np.log(0.6)) / 2, rtol=1e-6)
    soft = multinomial_mask_loss(logits, classes, 0 * targets + 0.25, np.array([True]))
    want = -np.mean([0.25 * np.log([0.5, 0.1]) + 0.75 * np.log([0.2, 0.6])]) * 2 / 2
    np.testing.assert_allclose(soft, want, rtol=1e-6)


def test_multinomial_loss_leaves_invalid_rois_out_and_is_zero_without_any():
    logits = tf.constant(np.random.default_rng(0).normal(0, 1, (3, 4, 4, 6)).astype("float32"))
    targets, classes = np.ones((3, 4, 4), "float32"), np.array([0, 4, 2], "int32")
    for valid in ([True, False, True], [False] * 3):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = multinomial_mask_loss(logits, classes, targets, np.array(valid))
        gradient = np.asarray(tape.gradient(loss, logits))
        assert (float(loss) > 0) == any(valid)
        assert [bool(one.any()) for one in gradient] == valid
