"""RoIWarp against hand-checked values, a loop and RoIAlign, whose values it has on the grid."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from kmrcnn.custom_ops import roi_align
from kmrcnn.layers.roi_align_max import roi_align_max
from kmrcnn.layers.roi_warp import roi_warp
from tests import naive_roi

RAMP = np.arange(25, dtype="float32").reshape(1, 5, 5, 1)

FIXTURES = [  # box, stride, size, sampling ratio, aligned, reduce, rows of the answer
    ([1, 1, 3, 3], 1, 2, 2, False, "mean", [[9, 10], [14, 15]]),
    ([0.6, 1.4, 2.5, 3.49], 1, 2, 2, False, "mean", [[9, 10], [14, 15]]),
    ([0.6, 1.4, 2.5, 3.49], 1, 2, 2, True, "mean", [[6, 7], [11, 12]]),
    ([0.6, 1.4, 2.5, 3.49], 1, 2, 2, False, "max", [[10.5, 11.5], [15.5, 16.5]]),
    ([4.8, 11.2, 20, 27.9], 8, 2, 2, False, "mean", [[9, 10], [14, 15]]),
    ([0.6, 1.4, 2.5, 3.49], 1, (1, 2), 1, False, "mean", [[11.5, 12.5]]),
    ([2.2, 2.2, 2.4, 2.4], 1, 2, 2, True, "mean", [[9, 9], [9, 9]]),  # no size: all at one point
    ([2.2, 2.2, 2.4, 2.4], 1, 1, 2, False, "mean", [[15]]),  # one cell
]


@pytest.mark.parametrize(("box", "stride", "size", "ratio", "aligned", "reduce", "want"), FIXTURES)
def test_fixtures(box, stride, size, ratio, aligned, reduce, want):
    boxes, indices = np.array([box], "float32"), np.zeros(1, "int32")
    got = roi_warp(RAMP, boxes, indices, stride, size, ratio, aligned, reduce=reduce)
    np.testing.assert_allclose(got[0, ..., 0], want, atol=1e-5)


STRIDES, AREAS, SIZE = (4, 8), (150.0,), (3, 2)


@pytest.fixture(scope="module")
def pyramid():
    draw = np.random.default_rng(0)
    maps = [draw.normal(size=(2, side, side + 3, 2)).astype("float32") for side in (8, 4)]
    corners = draw.uniform(-10, 28, (30, 2))
    boxes = np.concatenate([corners, corners + draw.uniform(0, 24, (30, 2))], 1).astype("float32")
    return maps, boxes, draw.integers(0, 2, 30).astype("int32")


@pytest.mark.parametrize("reduce", ["mean", "max"])
@pytest.mark.parametrize("aligned", [True, False])
def test_values_equal_loop(pyramid, reduce, aligned):
    maps, boxes, indices = pyramid
    got = roi_warp(maps, boxes, indices, STRIDES, SIZE, 2, aligned, AREAS, reduce)
    for box, index, pooled in zip(boxes, indices, np.asarray(got)):
        level = naive_roi.level_of(box, AREAS)
        samples, _ = naive_roi.roi_samples(
            maps[level][index], box, STRIDES[level], SIZE, 2, aligned, rounded=True
        )
        want = samples.mean(2) if reduce == "mean" else samples.max(2)
        np.testing.assert_allclose(pooled, want, atol=1e-5)


def test_gradient_of_the_mean_equals_loop(pyramid):
    maps, boxes, indices = pyramid
    feature = tf.constant(maps[0])
    upstream = np.random.default_rng(1).normal(size=(30, *SIZE, 2)).astype("float32")
    with tf.GradientTape() as tape:
        tape.watch(feature)
        pooled = roi_warp(feature, boxes, indices, 4, SIZE, 2)
    want = np.zeros(feature.shape)
    for box, index, gradient in zip(boxes, indices, upstream):
        _, weights = naive_roi.roi_samples(maps[0][index], box, 4, SIZE, 2, True, rounded=True)
        want[index] += np.einsum("pqc,pqshw->hwc", gradient, weights) / 4
    got = tf.convert_to_tensor(tape.gradient(pooled, feature, upstream))
    np.testing.assert_allclose(got, want, atol=1e-4)


@pytest.mark.parametrize("reduce", ["mean", "max"])
def test_equals_roi_align_on_the_grid_and_not_elsewhere(pyramid, reduce):
    maps, boxes, indices = pyramid
    rest = (STRIDES, SIZE, 2, True, AREAS)
    align = {"mean": partial(roi_align, form="reference"), "max": roi_align_max}[reduce]
    on_grid = 8 * np.round(boxes / 8)
    warped = roi_warp(maps, on_grid, indices, *rest, reduce)
    np.testing.assert_array_equal(warped, align(maps, on_grid, indices, *rest))
    difference = roi_warp(maps, boxes, indices, *rest, reduce) - align(maps, boxes, indices, *rest)
    assert np.abs(difference).max() > 0.1


def test_unknown_reduction_is_refused():
    with pytest.raises(
        ValueError, match="`reduce` must be 'mean' or 'max'. Received: reduce='sum'"
    ):
        roi_warp(RAMP, np.zeros((1, 4)), np.zeros(1, "int32"), 1, 2, reduce="sum")
