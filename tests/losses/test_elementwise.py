"""Losses of single numbers against their definitions."""

import numpy as np
import pytest
import tensorflow as tf

from kmrcnn.losses.elementwise import binary_cross_entropy, masked_sum, smooth_l1


@pytest.mark.parametrize("target", [0.0, 0.3, 1.0])
def test_binary_cross_entropy_equals_the_definition(target):
    logits = np.linspace(-8, 8, 33)
    p = 1 / (1 + np.exp(-logits))
    want = -target * np.log(p) - (1 - target) * np.log(1 - p)
    got = binary_cross_entropy(tf.constant(logits, "float32"), tf.fill([33], target))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "logit, target, want", [(500, 1, 0), (500, 0, 500), (-500, 1, 500), (-500, 0, 0)]
)
def test_binary_cross_entropy_does_not_overflow(logit, target, want):
    logit = tf.constant(float(logit))
    with tf.GradientTape() as tape:
        tape.watch(logit)
        loss = binary_cross_entropy(logit, float(target))
    assert float(loss) == want
    assert float(tape.gradient(loss, logit)) == pytest.approx(float(logit > 0) - target, abs=1e-6)


@pytest.mark.parametrize(
    "beta, difference, want",
    [
        (1, 0.5, 0.125),
        (1, -0.5, 0.125),
        (1, 3, 2.5),
        (0.5, 0.5, 0.25),
        (1 / 9, 1, 1 - 1 / 18),
        (0, 0.01, 0.01),
        (0, -2, 2),
    ],
)
def test_smooth_l1(beta, difference, want):
    assert float(smooth_l1(tf.constant(1.0 + difference), tf.constant(1.0), beta)) == pytest.approx(
        want, rel=1e-4
    )


def test_masked_sum_ignores_what_is_not_finite():
    values = tf.constant([1.0, np.nan, 2.0, np.inf])
    assert float(masked_sum(values, tf.constant([True, False, True, False]))) == 3.0
