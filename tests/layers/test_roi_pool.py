"""RoIPool against hand-checked values, a loop and torchvision's numbers."""

import numpy as np
import pytest
import tensorflow as tf

from kmrcnn.layers.roi_pool import BLOCK, roi_pool
from tests import naive_roi
from tests.conftest import ROOT

RAMP = np.arange(25, dtype="float32").reshape(1, 5, 5, 1)
BELOW = -1 - RAMP
GOLDEN = ROOT / "tests/golden/roi_pool.npz"

FIXTURES = [  # map, box, stride, size, rows of the answer
    (RAMP, [0, 0, 3, 3], 1, 2, [[6, 8], [16, 18]]),
    (RAMP, [0, 0, 12, 12], 4, 2, [[6, 8], [16, 18]]),
    (RAMP, [0, 0, 2, 2], 1, 2, [[6, 7], [11, 12]]),  # three cells in two bins: they overlap
    (RAMP, [1, 2, 1, 2], 1, 2, [[11, 11], [11, 11]]),  # one cell
    (RAMP, [0.5, 0.5, 1.49, 1.49], 1, 1, [[6]]),  # a half is rounded up,
    (RAMP, [2.5, 2.5, 2.5, 2.5], 1, 1, [[18]]),  # an even one, too,
    (RAMP, [-0.5, -0.5, 0, 0], 1, 2, [[0, 0], [0, 0]]),  # a negative one down:
    (BELOW, [-0.5, -0.5, 0, 0], 1, 2, [[0, 0], [0, -1]]),  # bins outside the map are 0
    (RAMP, [3, 3, 1, 1], 1, 2, [[18, 18], [18, 18]]),  # inverted: the cell of its first corner
    (RAMP, [-9, -9, 9, 9], 1, 1, [[24]]),
    (BELOW, [5, 0, 9, 4], 1, 2, [[0, 0], [0, 0]]),
    (RAMP, [0, 0, 4, 3], 1, (2, 1), [[9], [19]]),
]


def pool(maps, boxes, strides, size, indices=None, level_areas=()):
    boxes = np.asarray(boxes, "float32").reshape(-1, 4)
    indices = np.zeros(len(boxes), "int32") if indices is None else indices.astype("int32")
    return np.asarray(roi_pool(maps, boxes, indices, strides, size, level_areas=level_areas))


@pytest.mark.parametrize(("maps", "box", "stride", "size", "want"), FIXTURES)
def test_fixtures(maps, box, stride, size, want):
    np.testing.assert_array_equal(pool(maps, [box], stride, size)[0, ..., 0], want)


@pytest.mark.parametrize("size", [7, (3, 5), (20, 1)])
def test_pyramid_equals_loop(size):
    draw = np.random.default_rng(1)
    maps = [draw.normal(size=(2, side, side + 4, 3)).astype("float32") for side in (24, 12, 6)]
    corners = draw.uniform(-30, 100, (200, 2))
    boxes = np.concatenate([corners, corners + draw.uniform(-10, 120, (200, 2))], 1)
    boxes, indices = boxes.astype("float32"), draw.integers(0, 2, 200)
    strides, areas = (4, 8, 16), (32.0**2, 64.0**2)
    got = pool(maps, boxes, strides, size, indices, areas)
    pair = size if isinstance(size, tuple) else (size, size)
    for box, index, pooled in zip(boxes, indices, got):
        level = naive_roi.level_of(box, areas)
        want = naive_roi.roi_pool(maps[level][index], box, strides[level], pair)
        np.testing.assert_array_equal(pooled, want)


def test_box_as_large_as_the_map():
    feature = np.random.default_rng(2).normal(size=(1, 61, 83, 2)).astype("float32")
    boxes = np.array([[0, 0, 82, 60], [40, 30, 40, 30]], "float32")
    got = tf.function(roi_pool)(feature, boxes, np.zeros(2, "int32"), 1, 1)
    np.testing.assert_array_equal(got[0, 0, 0], feature.max((0, 1, 2)))
    np.testing.assert_array_equal(got[1, 0, 0], feature[0, 30, 40])


CASES = ["small/7x7", "small/3x5", "long/7x7", "long/14x14"]


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_equal_torchvision(case, mode):
    golden = np.load(GOLDEN)
    name, size = case.split("/")
    maps = tf.constant(np.moveaxis(golden[f"{name}/map"], 1, -1).astype("float32"))
    rois, stride = golden[f"{name}/rois"], float(golden[f"{name}/stride"])
    want = {
        key: np.moveaxis(golden[f"{case}/{key}"], 1, -1).astype("float32")
        for key in ("pooled", "upstream", "gradient")
    }
    size = tuple(int(n) for n in size.split("x"))

    def run(maps, boxes, indices):  # boxes that a compiler does not know
        with tf.GradientTape() as tape:
            tape.watch(maps)
            pooled = roi_pool(maps, boxes, indices, stride, size)
        return pooled, tape.gradient(pooled, maps, want["upstream"])

    run = run if mode == "eager" else tf.function(run, jit_compile=mode == "xla")
    pooled, gradient = run(maps, rois[:, 1:], rois[:, 0].astype("int32"))
    np.testing.assert_array_equal(pooled, want["pooled"])
    np.testing.assert_array_equal(tf.convert_to_tensor(gradient), want["gradient"])


def test_gradient_goes_to_the_first_of_equal_cells():
    maps = tf.ones((1, 4, 4, 1))
    with tf.GradientTape() as tape:
        tape.watch(maps)
        pooled = roi_pool(maps, np.array([[1, 1, 3, 3.0]]), np.zeros(1, "int32"), 1, 1)
    want = np.zeros((4, 4))
    want[1, 1] = 1
    np.testing.assert_array_equal(tape.gradient(pooled, maps)[0, ..., 0], want)


@pytest.mark.parametrize("number", [BLOCK - 1, BLOCK, BLOCK + 1])
def test_any_number_of_boxes(number):
    boxes = np.stack([np.array([0, 0, k % 5, k % 3]) for k in range(number)])
    got = pool(RAMP, boxes, 1, 1)[:, 0, 0, 0]
    np.testing.assert_array_equal(got, [k % 5 + 5 * (k % 3) for k in range(number)])
