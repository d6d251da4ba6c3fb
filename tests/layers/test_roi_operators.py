"""What RoIPool, RoIWarp and RoIAlign with the maximum share: arguments, levels, odd boxes, dtypes,
backends.
"""

import os
import subprocess
import sys
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from kmrcnn.layers.roi_align_max import roi_align_max
from kmrcnn.layers.roi_pool import roi_pool
from kmrcnn.layers.roi_warp import roi_warp
from tests.conftest import ROOT

OPERATORS = {
    "roi_pool": roi_pool,
    "roi_warp": roi_warp,
    "roi_warp_max": partial(roi_warp, reduce="max"),
    "roi_align_max": roi_align_max,
}
SAMPLED = ["roi_warp", "roi_align_max"]
RAMP = 1 + np.arange(25, dtype="float32").reshape(1, 5, 5, 1)
INSIDE = [1, 1, 3, 3]
ZERO = np.zeros(1, "int32")


@pytest.fixture(params=OPERATORS)
def operator(request):
    return OPERATORS[request.param]


def inside(operator):
    """The answer for the box INSIDE, 2 x 2 bins."""
    return np.asarray(operator(RAMP, np.array([INSIDE], "float32"), ZERO, 1, 2, 2))[0]


def scene():
    """Two levels, 40 boxes."""
    draw = np.random.default_rng(0)
    maps = [draw.normal(size=(2, side, side + 3, 3)).astype("float32") for side in (12, 6)]
    corners = draw.uniform(-10, 40, (40, 2))
    boxes = np.concatenate([corners, corners + draw.uniform(0, 40, (40, 2))], 1).astype("float32")
    return maps, boxes, draw.integers(0, 2, 40).astype("int32")


@pytest.mark.parametrize("graph", [False, True])
def test_no_boxes_give_no_output(operator, graph):
    def run():
        return operator(RAMP, np.zeros((0, 4), "float32"), np.zeros(0, "int32"), 1, (3, 2), 2)

    assert (tf.function(run) if graph else run)().shape == (0, 3, 2, 1)


ABSURD = [
    [np.nan] * 4,
    [1, 1, np.nan, 3],
    [np.inf] * 4,
    [-np.inf, -np.inf, np.inf, np.inf],
    [1e7, 1e7, 2e7, 2e7],
    [-3e38, -3e38, -2e38, -2e38],
]


def test_absurd_boxes_give_zeros_and_do_not_touch_others(operator):
    boxes = np.array([INSIDE, *ABSURD, INSIDE], "float32")
    got = np.asarray(operator(RAMP, boxes, np.zeros(len(boxes), "int32"), 1, 2, 2))
    np.testing.assert_array_equal(got[[0, -1]], [inside(operator)] * 2)
    np.testing.assert_array_equal(got[1:-1], 0)


def test_huge_box_is_finite(operator):
    boxes = np.array([[-3e38, -3e38, 3e38, 3e38], [-1e5, -1e5, 1e5, 1e5]], "float32")
    got = np.asarray(operator(RAMP, boxes, np.zeros(2, "int32"), 1, 3, 2))
    assert np.isfinite(got).all()
    assert np.abs(got).max() <= 25


@pytest.mark.parametrize("images", [1, 2])
def test_image_index_outside_the_batch_gives_zeros(operator, images):
    maps = np.repeat(RAMP, images, axis=0)
    boxes, indices = np.array([INSIDE] * 4, "float32"), np.array([0, -1, images, 1000], "int32")
    got = np.asarray(operator(maps, boxes, indices, 1, 2, 2))
    np.testing.assert_array_equal(got[0], inside(operator))
    np.testing.assert_array_equal(got[1:], 0)


def test_level_is_chosen_by_the_area(operator):
    maps = [np.full((1, 8, 8, 1), value, "float32") for value in (1, 2, 3)]
    boxes = np.array(
        [[8, 8, 23, 24], [8, 8, 24, 24], [8, 8, 40, 39], [8, 8, 40, 40], [24, 24, 8, 8]], "float32"
    )
    got = operator(maps, boxes, np.zeros(5, "int32"), (8, 8, 8), 1, 2, True, (16.0**2, 32.0**2))
    np.testing.assert_array_equal(got[:, 0, 0, 0], [1, 2, 2, 3, 1])


def test_pyramid_equals_single_maps(operator):
    maps, boxes, indices = scene()
    got = np.asarray(operator(maps, boxes, indices, (4, 8), 3, 2, True, (400.0,)))
    coarse = (boxes[:, 2:] - boxes[:, :2]).prod(1) >= 400
    for members, feature, stride in ((~coarse, maps[0], 4), (coarse, maps[1], 8)):
        alone = operator(feature, boxes[members], indices[members], stride, 3, 2)
        np.testing.assert_allclose(got[members], alone, atol=1e-6)


def test_unknown_sizes(operator):
    """Maps and boxes whose sizes are known at run time only."""
    signature = [
        tf.TensorSpec((None, None, None, 1)),
        tf.TensorSpec((None, 4)),
        tf.TensorSpec((None,), "int32"),
    ]
    run = tf.function(lambda *inputs: operator(*inputs, 1, 2, 2), signature)
    assert run.get_concrete_function().output_shapes.as_list() == [None, 2, 2, 1]
    got = run(RAMP, np.array([INSIDE] * 3, "float32"), np.zeros(3, "int32"))
    np.testing.assert_array_equal(got, [inside(operator)] * 3)
    assert run(RAMP, np.zeros((0, 4), "float32"), np.zeros(0, "int32")).shape == (0, 2, 2, 1)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_features_keep_their_dtype(operator, dtype):
    maps, boxes, indices = scene()
    halves = [tf.cast(feature, dtype) for feature in maps]
    rest = (boxes, indices, (4, 8), 3, 2, True, (400.0,))
    with tf.GradientTape() as tape:
        tape.watch(halves)
        got = operator(halves, *rest)
    gradients = tape.gradient(got, halves)
    assert keras.backend.standardize_dtype(got.dtype) == dtype
    assert all(tf.convert_to_tensor(gradient).dtype == dtype for gradient in gradients)
    want = operator([tf.cast(feature, "float32") for feature in halves], *rest)
    np.testing.assert_allclose(tf.cast(got, "float32"), want, atol=0.05)


def test_boxes_get_no_gradient(operator):
    boxes = tf.constant([INSIDE], "float32")
    with tf.GradientTape() as tape:
        tape.watch(boxes)
        total = tf.reduce_sum(operator(RAMP, boxes, ZERO, 1, 2, 2))
    assert tape.gradient(total, boxes) is None


WRONG = [  # arguments that differ from right ones, message
    (
        {"boxes": np.zeros((2, 5))},
        r"`boxes` must have shape \(N, 4\). Received: boxes.shape=\(2, 5\)",
    ),
    ({"strides": (4, 8)}, r"`strides` must be 1 positive numbers, one per map. Received: \(4, 8\)"),
    ({"level_areas": (16.0,)}, r"`level_areas` must be 0 ascending areas.* Received: \(16.0,\)"),
    ({"output_size": (2, 2, 2)}, r"`output_size` must be .* Received: \(2, 2, 2\)"),
    ({"output_size": 0}, r"`output_size` must be .* Received: \(0, 0\)"),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG)
def test_wrong_arguments_are_refused(operator, wrong, message):
    right = {
        "features": RAMP,
        "boxes": np.zeros((2, 4)),
        "batch_indices": np.zeros(2, "int32"),
        "strides": 4,
        "output_size": 2,
    }
    with pytest.raises(ValueError, match=message):
        operator(**right | wrong)


@pytest.mark.parametrize("name", SAMPLED)
def test_adaptive_sampling_is_refused(name):
    with pytest.raises(
        ValueError, match="`sampling_ratio` must be a whole number from 1 .*sampling_ratio=0"
    ):
        OPERATORS[name](RAMP, np.array([INSIDE], "float32"), ZERO, 1, 2, 0)


JAX_SCRIPT = """
import sys
import jax
import keras
import numpy as np
from tests.layers.test_roi_operators import OPERATORS, scene
assert keras.backend.backend() == "jax"
maps, boxes, indices = scene()
values = {}
for name, operator in OPERATORS.items():
    def pool(maps):
        return operator(maps, boxes, indices, (4, 8), 3, 2, True, (400.0,))
    def loss(maps):
        return (pool(maps) ** 2).sum()
    values[name] = jax.jit(pool)(maps)
    values |= {f"{name}_{i}": g for i, g in enumerate(jax.jit(jax.grad(loss))(maps))}
np.savez(sys.argv[1], **values)
"""


@pytest.mark.slow
def test_same_values_and_gradients_under_jax(tmp_path):
    pytest.importorskip("jax")
    environment = os.environ | {"KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", JAX_SCRIPT, str(tmp_path / "values.npz")]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    got = np.load(tmp_path / "values.npz")
    maps, boxes, indices = scene()
    maps = [tf.constant(feature) for feature in maps]
    for name, operator in OPERATORS.items():
        with tf.GradientTape() as tape:
            tape.watch(maps)
            pooled = operator(maps, boxes, indices, (4, 8), 3, 2, True, (400.0,))
            loss = tf.reduce_sum(pooled**2)
        np.testing.assert_allclose(got[name], pooled, atol=1e-5, err_msg=name)
        for i, gradient in enumerate(tape.gradient(loss, maps)):
            gradient = tf.convert_to_tensor(gradient)
            np.testing.assert_allclose(got[f"{name}_{i}"], gradient, atol=1e-4, err_msg=name)
