"""The reference of the kernels against values worked out by hand or by other libraries."""

import numpy as np
import pytest

from tests.custom_ops.roi_align import numpy_reference

RAMP = np.arange(25.0).reshape(1, 5, 5, 1)
CURVE = (np.arange(8)[:, None] ** 2 + 0.5 * np.arange(8)[None, :] ** 2)[None, ..., None]


@pytest.mark.parametrize(
    "maps, box, size, ratio, aligned, want",
    [
        (RAMP, [1, 1, 3, 3], 2, 2, False, [[9, 10], [14, 15]]),
        (CURVE, [1, 0, 7.5, 6], 2, 0, False, [[7.096354, 20.75651], [25.096354, 38.75651]]),
        (CURVE, [1, 0, 7.5, 6], 2, 1, True, [[3.3125, 15.5625], [18.3125, 30.5625]]),
        (CURVE, [1, 0, 7.5, 6], 2, 2, True, [[4.40625, 16.625], [19.40625, 31.625]]),
        (RAMP, [-3, -3, 2, 2], 2, 0, False, [[0, 0.259259], [1.296296, 4.666667]]),
        (RAMP, [-3, -3, 2, 2], 2, 2, True, [[0, 0], [0, 2.625]]),
        (RAMP, [2, 2, 2.2, 2.2], 2, 2, True, [[9.3, 9.4], [9.8, 9.9]]),
        (RAMP, [2, 2, 2, 2], 2, 0, True, [[0, 0], [0, 0]]),
    ],
)
def test_values_equal_known_ones(maps, box, size, ratio, aligned, want):
    boxes = np.array([box], np.float32)
    got = numpy_reference.roi_align([maps], boxes, [0], [1], (size, size), ratio, aligned)
    np.testing.assert_allclose(got[0, ..., 0], want, atol=1e-6)


def test_gradient_is_the_adjoint():
    draw = np.random.default_rng(0)
    features = [draw.normal(size=(2, side, side + 1, 3)) for side in (8, 4)]
    corners = draw.uniform(-10, 30, (20, 2))
    boxes = np.concatenate([corners, corners + draw.uniform(0, 30, (20, 2))], 1)
    call = (features, boxes, draw.integers(-1, 2, 20), (4, 8), (3, 2), 0, True, (100,))
    pooled = numpy_reference.roi_align(*call)
    upstream = draw.normal(size=pooled.shape)
    gradients = numpy_reference.roi_align_gradient(upstream, *call)
    products = [(one * other).sum() for one, other in zip(features, gradients)]
    np.testing.assert_allclose(sum(products), (pooled * upstream).sum())
    assert all(products)


def test_boxes_go_to_the_level_of_their_area():
    levels = [np.full((1, 8 >> k, 8 >> k, 1), float(k)) for k in range(3)]
    sides = np.array([9.99, 10, 19.99, 20], np.float32)
    boxes = np.stack([0 * sides, 0 * sides, sides, sides], 1)
    got = numpy_reference.roi_align(levels, boxes, [0] * 4, (4, 8, 16), (1, 1), 2, True, (100, 400))
    np.testing.assert_array_equal(got[:, 0, 0, 0], [0, 1, 1, 2])
