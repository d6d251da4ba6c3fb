"""RoIAlign with the maximum against hand-checked values and a loop, values and gradients."""

import numpy as np
import pytest
import tensorflow as tf

from kmrcnn.layers.roi_align_max import roi_align_max
from tests import naive_roi

RAMP = np.arange(25, dtype="float32").reshape(1, 5, 5, 1)
BELOW = -1 - RAMP

FIXTURES = [  # map, box, size, sampling ratio, aligned, rows of the answer
    (RAMP, [1, 1, 3, 3], 2, 2, False, [[10.5, 11.5], [15.5, 16.5]]),
    (RAMP, [1, 1, 3, 3], 2, 2, True, [[7.5, 8.5], [12.5, 13.5]]),
    (BELOW, [1, 1, 3, 3], 2, 2, False, [[-8.5, -9.5], [-13.5, -14.5]]),
    (RAMP, [1, 1, 3, 3], 2, 1, False, [[9, 10], [14, 15]]),
    (RAMP, [0, 0, 4, 2], (1, 2), 2, True, [[6, 8]]),
    (BELOW, [-3, 0, 1, 4], 1, 2, False, [[0]]),  # a sample outside takes part
    (BELOW, [-1, 0, 3, 4], 1, 2, False, [[-6]]),  # one within a cell of the border is clamped
]


@pytest.mark.parametrize(("maps", "box", "size", "ratio", "aligned", "want"), FIXTURES)
def test_fixtures(maps, box, size, ratio, aligned, want):
    boxes, indices = np.array([box], "float32"), np.zeros(1, "int32")
    got = roi_align_max(maps, boxes, indices, 1, size, ratio, aligned)
    np.testing.assert_allclose(got[0, ..., 0], want, atol=1e-5)


@pytest.mark.parametrize(("ratio", "aligned"), [(1, True), (2, True), (2, False), (3, False)])
def test_values_and_gradients_equal_loop(ratio, aligned):
    draw = np.random.default_rng(ratio)
    maps = [draw.normal(size=(2, side, side + 3, 2)).astype("float32") for side in (8, 4)]
    corners = draw.uniform(-10, 28, (20, 2))
    boxes = np.concatenate([corners, corners + draw.uniform(0, 24, (20, 2))], 1).astype("float32")
    indices = draw.integers(0, 2, 20).astype("int32")
    upstream = draw.normal(size=(20, 3, 2, 2)).astype("float32")
    tensors = [tf.constant(feature) for feature in maps]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        got = roi_align_max(tensors, boxes, indices, (4, 8), (3, 2), ratio, aligned, (150.0,))
    gradients = tape.gradient(got, tensors, upstream)
    want, want_gradients = naive_maximum(maps, boxes, indices, upstream, ratio, aligned)
    np.testing.assert_allclose(got, want, atol=1e-5)
    for gradient, wanted in zip(gradients, want_gradients):
        np.testing.assert_allclose(tf.convert_to_tensor(gradient), wanted, atol=1e-4)


def naive_maximum(maps, boxes, indices, upstream, ratio, aligned):
    """Values, and the gradients with respect to the maps."""
    pooled, gradients = np.zeros(upstream.shape), [np.zeros(feature.shape) for feature in maps]
    for n, (box, index) in enumerate(zip(boxes, indices)):
        level = naive_roi.level_of(box, (150.0,))
        samples, weights = naive_roi.roi_samples(
            maps[level][index], box, (4, 8)[level], (3, 2), ratio, aligned
        )
        pooled[n] = samples.max(2)
        for p, q, c in np.ndindex(3, 2, 2):
            largest = weights[p, q, samples[p, q, :, c].argmax()]
            gradients[level][index, ..., c] += upstream[n, p, q, c] * largest
    return pooled, gradients


def test_gradient_goes_to_the_first_of_equal_samples():
    maps = tf.ones((1, 5, 5, 1))
    with tf.GradientTape() as tape:
        tape.watch(maps)
        # Samples at the cells 1 and 3 of both axes.
        pooled = roi_align_max(
            maps, np.array([[0.0, 0, 4, 4]]), np.zeros(1, "int32"), 1, 1, 2, False
        )
    want = np.zeros((5, 5))
    want[1, 1] = 1
    gradient = tf.convert_to_tensor(tape.gradient(pooled, maps))
    np.testing.assert_array_equal(gradient[0, ..., 0], want)
