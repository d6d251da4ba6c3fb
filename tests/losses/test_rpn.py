"""RPN losses against torchvision's."""

import numpy as np
import pytest
import tensorflow as tf

from kmrcnn.losses.regression import regression_loss
from kmrcnn.losses.rpn import rpn_losses

REGRESSION = regression_loss("smooth_l1", 1 / 9, None, None)


@pytest.fixture(scope="module")
def case(cases_dir):
    arrays = np.load(cases_dir / "rpn_loss.npz")
    labels = np.stack([arrays["labels0"], arrays["labels1"]])
    return {
        "logits": tf.constant(arrays["objectness"].reshape(2, 300)),
        "deltas": tf.constant(arrays["deltas"].reshape(2, 300, 4)),
        "goals": np.stack([arrays["targets0"], arrays["targets1"]]),
        "foreground": labels == 1,
        "background": labels == 0,
        "want": arrays,
    }


def losses_and_gradients(case, **settings):
    arguments = {k: case[k] for k in ("goals", "foreground", "background")}
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([case["logits"], case["deltas"]])
        losses = rpn_losses(
            case["logits"], case["deltas"], regression=REGRESSION, **arguments, **settings
        )
    return losses, [
        tape.gradient(losses["loss_rpn_cls"], case["logits"]),
        tape.gradient(losses["loss_rpn_box"], case["deltas"]),
    ]


def test_values_and_gradients_equal_torchvision(case):
    losses, gradients = losses_and_gradients(case)
    want = case["want"]
    np.testing.assert_allclose(losses["loss_rpn_cls"], want["tv_loss_objectness"], rtol=1e-5)
    np.testing.assert_allclose(losses["loss_rpn_box"], want["tv_loss_box"], rtol=1e-5)
    np.testing.assert_allclose(gradients[0], want["tv_grad_obj"].reshape(2, 300), atol=1e-7)
    np.testing.assert_allclose(gradients[1], want["tv_grad_delta"].reshape(2, 300, 4), atol=1e-7)


def test_divisor_is_the_configured_or_the_drawn_number(case):
    drawn = (case["foreground"] | case["background"]).sum()
    assert drawn != 2 * 256
    by_drawn, _ = losses_and_gradients(case)
    by_setting, _ = losses_and_gradients(case, samples_per_image=256)
    for name in by_drawn:
        np.testing.assert_allclose(by_drawn[name] * drawn, by_setting[name] * 512, rtol=1e-5)


@pytest.mark.parametrize("samples", [None, 256])
@pytest.mark.parametrize("background", [False, True])
def test_finite_without_objects(case, background, samples):
    nothing = np.zeros((2, 300), bool)
    case = case | {"foreground": nothing, "background": nothing | background}
    losses, gradients = losses_and_gradients(case, samples_per_image=samples)
    assert float(losses["loss_rpn_box"]) == 0
    assert (float(losses["loss_rpn_cls"]) > 0) == background
    assert all(np.isfinite(gradient).all() for gradient in gradients)
