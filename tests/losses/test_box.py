"""Box losses against torchvision's."""

import numpy as np
import pytest
import tensorflow as tf

from kmrcnn.losses.box import box_losses
from kmrcnn.losses.regression import regression_loss

REGRESSION = regression_loss("smooth_l1", 1 / 9, None, None)
CLASSES = 5


@pytest.fixture(scope="module")
def case(cases_dir):
    """Two images of 30 RoIs; the background moved from first to last."""
    arrays = np.load(cases_dir / "box_postprocess.npz")
    labels = arrays["loss_labels"].reshape(2, 30)
    deltas = arrays["box_deltas"].reshape(2, 30, CLASSES + 1, 4)
    return {
        "class_logits": tf.constant(background_last(arrays["cls_logits"]).reshape(2, 30, -1)),
        "box_deltas": tf.constant(deltas[:, :, 1:]),
        "classes": np.where(labels == 0, CLASSES, labels - 1).astype("int32"),
        "goals": arrays["loss_targets"].reshape(2, 30, 4),
        "foreground": labels > 0,
        "valid": np.ones((2, 30), bool),
        "want": arrays,
    }


def background_last(values):
    return np.roll(values, -1, axis=-1)


def losses_and_gradients(case):
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([case["class_logits"], case["box_deltas"]])
        losses = box_losses(**{k: v for k, v in case.items() if k != "want"}, regression=REGRESSION)
    return losses, [
        tape.gradient(losses["loss_cls"], case["class_logits"]),
        tape.gradient(losses["loss_box"], case["box_deltas"]),
    ]


def test_values_and_gradients_equal_torchvision(case):
    losses, (cls_gradient, box_gradient) = losses_and_gradients(case)
    want = case["want"]
    np.testing.assert_allclose(losses["loss_cls"], want["tv_loss_cls"], rtol=1e-5)
    np.testing.assert_allclose(losses["loss_box"], want["tv_loss_box"], rtol=1e-5)
    want_cls = background_last(want["tv_grad_cls"]).reshape(2, 30, -1)
    np.testing.assert_allclose(cls_gradient, want_cls, atol=1e-7)
    want_box = want["tv_grad_box"].reshape(2, 30, CLASSES + 1, 4)[:, :, 1:]
    np.testing.assert_allclose(box_gradient, want_box, atol=1e-7)


def test_class_agnostic_deltas_serve_every_class(case):
    deltas = case["box_deltas"][:, :, :1]
    same = tf.repeat(deltas, CLASSES, axis=2)
    one, _ = losses_and_gradients(case | {"box_deltas": deltas})
    many, _ = losses_and_gradients(case | {"box_deltas": same})
    assert float(one["loss_box"]) == pytest.approx(float(many["loss_box"]), rel=1e-6)


def test_invalid_slots_do_not_count(case):
    valid = case["valid"].copy()
    valid[:, 20:] = False
    short = {k: v[:, :20] for k, v in case.items() if k != "want"}
    want, _ = losses_and_gradients(short)
    got, _ = losses_and_gradients(case | {"valid": valid, "foreground": case["foreground"] & valid})
    for name in want:
        assert float(got[name]) == pytest.approx(float(want[name]), rel=1e-6)


@pytest.mark.parametrize("valid", [False, True])
def test_finite_without_objects(case, valid):
    nothing = np.zeros((2, 30), bool)
    classes = np.full((2, 30), CLASSES, "int32")
    losses, gradients = losses_and_gradients(
        case | {"foreground": nothing, "valid": nothing | valid, "classes": classes}
    )
    assert float(losses["loss_box"]) == 0
    assert (float(losses["loss_cls"]) > 0) == valid
    assert all(np.isfinite(gradient).all() for gradient in gradients)
