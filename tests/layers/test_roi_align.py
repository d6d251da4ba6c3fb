"""RoIAlign in both forms against hand-checked values and torchvision's numbers."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from kmrcnn.layers import roi_align as module
from kmrcnn.layers.roi_align import roi_align

RAMP = np.arange(25, dtype="float32").reshape(1, 5, 5, 1)
CURVE = (np.arange(8)[:, None] ** 2 + 0.5 * np.arange(8)[None, :] ** 2).astype("float32")[
    None, ..., None
]
INSIDE, OUTSIDE, TINY = [1, 1, 3, 3], [-3, -3, 2, 2], [2, 2, 2.2, 2.2]

FIXTURES = [  # map, box, size, sampling ratio, aligned, rows of the answer
    (
        RAMP,
        INSIDE,
        4,
        2,
        False,
        [[7.5, 8, 8.5, 9], [10, 10.5, 11, 11.5], [12.5, 13, 13.5, 14], [15, 15.5, 16, 16.5]],
    ),
    (
        RAMP,
        INSIDE,
        4,
        0,
        False,
        [[7.5, 8, 8.5, 9], [10, 10.5, 11, 11.5], [12.5, 13, 13.5, 14], [15, 15.5, 16, 16.5]],
    ),
    (
        RAMP,
        INSIDE,
        4,
        2,
        True,
        [[4.5, 5, 5.5, 6], [7, 7.5, 8, 8.5], [9.5, 10, 10.5, 11], [12, 12.5, 13, 13.5]],
    ),
    (
        RAMP,
        INSIDE,
        4,
        0,
        True,
        [[4.5, 5, 5.5, 6], [7, 7.5, 8, 8.5], [9.5, 10, 10.5, 11], [12, 12.5, 13, 13.5]],
    ),
    (CURVE, [1, 0, 7.5, 6], 2, 0, False, [[7.096354, 20.75651], [25.096354, 38.75651]]),
    (CURVE, [1, 0, 7.5, 6], 2, 1, False, [[6.0625, 19.8125], [24.0625, 37.8125]]),
    (CURVE, [1, 0, 7.5, 6], 2, 2, False, [[6.875, 20.65625], [24.875, 38.65625]]),
    (CURVE, [1, 0, 7.5, 6], 2, 0, True, [[4.432292, 16.596354], [19.432292, 31.596354]]),
    (CURVE, [1, 0, 7.5, 6], 2, 1, True, [[3.3125, 15.5625], [18.3125, 30.5625]]),
    (CURVE, [1, 0, 7.5, 6], 2, 2, True, [[4.40625, 16.625], [19.40625, 31.625]]),
    (RAMP, OUTSIDE, 2, 0, False, [[0, 0.259259], [1.296296, 4.666667]]),
    (RAMP, OUTSIDE, 2, 2, False, [[0, 0], [0, 4.5]]),
    (RAMP, OUTSIDE, 2, 0, True, [[0, 0], [0, 2.666667]]),
    (RAMP, OUTSIDE, 2, 2, True, [[0, 0], [0, 2.625]]),
    (RAMP, TINY, 2, 2, False, [[13.5, 14], [16, 16.5]]),
    (RAMP, TINY, 2, 2, True, [[9.3, 9.4], [9.8, 9.9]]),
    (RAMP, [2, 2, 2, 2], 2, 0, True, [[0, 0], [0, 0]]),
]


@pytest.fixture(params=["adaptive", "gather", "crop_and_resize"])
def form(request, monkeypatch):
    """Adaptive sampling, and the two forms of fixed sampling."""
    if request.param == "gather":
        monkeypatch.setattr(module.keras.backend, "backend", lambda: "another")
    return request.param


@pytest.fixture
def ratio(form):
    return 0 if form == "adaptive" else 2


def pool(maps, boxes, size, ratio, aligned, indices=None, levels=None, strides=None):
    boxes = np.asarray(boxes, "float32").reshape(-1, 4)
    maps = maps if isinstance(maps, list) else [maps]
    zeros = np.zeros(len(boxes), "int32")
    indices = zeros if indices is None else np.asarray(indices, "int32")
    levels = zeros if levels is None else np.asarray(levels, "int32")

    def run(*maps):
        return roi_align(
            list(maps), boxes, indices, levels, strides or (1,) * len(maps), size, ratio, aligned
        )

    return (tf.function(run) if ratio == 0 else run)(*maps)


def test_fixtures(form):
    fixtures = [fixture for fixture in FIXTURES if (fixture[3] == 0) == (form == "adaptive")]
    assert len(fixtures) >= 7
    for maps, box, size, ratio, aligned, want in fixtures:
        got = np.asarray(pool(maps, [box], size, ratio, aligned))
        assert got.shape == (1, size, size, 1)
        np.testing.assert_allclose(got[0, ..., 0], want, atol=1e-5)


def test_values_and_gradients_equal_torchvision(cases_dir, form):
    arrays = np.load(cases_dir / "roi_align.npz")
    cases = json.loads((cases_dir / "roi_align.json").read_text())["cases"]
    cases = [c for c in cases if c["output_size"][0] == c["output_size"][1]]
    cases = [c for c in cases if (c["sampling_ratio"] == 0) == (form == "adaptive")]
    if form != "crop_and_resize":  # slow to trace: one picture size is enough
        cases = cases[:6]
    assert len(cases) >= 6
    for case in cases:
        name = case["case"]
        want, upstream, want_gradient = (
            np.moveaxis(arrays[f"{name}_{k}"], 1, -1) for k in ("out", "go", "gi")
        )
        pooled, gradient = _pool_case(arrays, case, upstream)
        np.testing.assert_allclose(pooled, want, atol=1e-5, err_msg=name)
        assert np.abs(gradient - want_gradient).max() <= 1e-4 * np.abs(want_gradient).max(), name


def _pool_case(arrays, case, upstream):
    """Pooled values (N, P, P, C), and the gradient with respect to the map (B, h, w, C)."""
    maps = tf.constant(np.moveaxis(arrays[case["x"]], 1, -1))
    rois = arrays[case["rois"]]
    stride = round(1 / case["spatial_scale"])

    @tf.function
    def run(maps):
        indices, levels = rois[:, 0].astype("int32"), np.zeros(len(rois), "int32")
        size, ratio, aligned = case["output_size"][0], case["sampling_ratio"], case["aligned"]
        pooled = roi_align([maps], rois[:, 1:], indices, levels, (stride,), size, ratio, aligned)
        return pooled, tf.gradients(pooled, maps, upstream)[0]

    return run(maps)


def _pyramid(cases_dir):
    arrays = np.load(cases_dir / "multilevel_roi_align.npz")
    maps = [np.moveaxis(arrays[f"f{i}"], 1, -1) for i in range(4)]
    boxes = np.concatenate([arrays["boxes0"], arrays["boxes1"]])
    indices = np.repeat([0, 1], [len(arrays["boxes0"]), len(arrays["boxes1"])])
    return arrays, maps, boxes, indices


PYRAMID = [  # key of the answer, key of its levels, size, ratio, aligned
    ("tv_box", "tv_levels", 7, 2, False),
    ("tv_mask", "tv_levels", 14, 2, False),
    ("tv_adapt", "tv_levels", 7, 0, False),
    ("d2_box_sr0", "d2_levels", 7, 0, True),
    ("d2_box_v1_sr2", "d2_levels", 7, 2, False),
]


def test_pyramid_equals_reference(cases_dir, form):
    arrays, maps, boxes, indices = _pyramid(cases_dir)
    largest = max(
        np.abs(m).max() for m in maps
    )  # white noise: coordinates near 50 are good to 4e-6
    for key, levels, size, ratio, aligned in PYRAMID:
        if (ratio == 0) == (form == "adaptive"):
            got = pool(maps, boxes, size, ratio, aligned, indices, arrays[levels], (4, 8, 16, 32))
            want = np.moveaxis(arrays[key], 1, -1)
            np.testing.assert_allclose(got, want, atol=1e-5 * largest, err_msg=key)


@pytest.mark.parametrize("ratio", [1, 2, 3])
def test_both_forms_agree(ratio, monkeypatch):
    draw = np.random.default_rng(0)
    maps = [draw.normal(size=(2, side, side + 3, 4)).astype("float32") for side in (16, 8, 4)]
    corners = draw.uniform(-20, 70, (90, 2))
    boxes = np.concatenate([corners, corners + draw.uniform(0, 60, (90, 2))], 1)
    arguments = (
        maps,
        boxes,
        3,
        ratio,
        True,
        draw.integers(0, 2, 90),
        draw.integers(0, 3, 90),
        (4, 8, 16),
    )
    one = pool(*arguments)
    monkeypatch.setattr(module.keras.backend, "backend", lambda: "another")
    np.testing.assert_allclose(one, pool(*arguments), atol=2e-5)


@pytest.mark.parametrize("eager", [True, False])
def test_no_boxes_give_no_output(ratio, eager, form):
    empty = np.zeros((0,), "int32")
    run = lambda: roi_align([RAMP], np.zeros((0, 4), "float32"), empty, empty, (1,), 3, ratio)  # noqa: E731
    assert (run() if eager else tf.function(run)()).shape == (0, 3, 3, 1)


def test_number_of_boxes_may_be_a_whole_block(ratio, form):
    boxes = np.tile(np.array([INSIDE], "float32"), (module.BLOCK, 1))
    got = np.asarray(pool(RAMP, boxes, 4, ratio, False))
    np.testing.assert_allclose(got[-1, ..., 0], FIXTURES[0][5], atol=1e-5)


ABSURD = [
    [np.nan] * 4,
    [1, 1, np.nan, 3],
    [np.inf] * 4,
    [-np.inf, -np.inf, np.inf, np.inf],
    [-3e38, -3e38, 3e38, 3e38],
    [1e7, 1e7, 2e7, 2e7],
]


def test_absurd_boxes_give_zeros_and_do_not_touch_others(ratio, form):
    got = np.asarray(pool(RAMP, [INSIDE, *ABSURD, INSIDE], 4, ratio, True))[..., 0]
    np.testing.assert_allclose(got[[0, -1]], [FIXTURES[2][5]] * 2, atol=1e-5)
    np.testing.assert_allclose(got[1:-1], 0, atol=1e-5)


def test_huge_box_is_finite_and_cheap(ratio, form):
    got = np.asarray(pool(RAMP, [[-1e5, -1e5, 1e5, 1e5]], 3, ratio, True))
    assert np.isfinite(got).all()
    assert np.abs(got).max() <= 24


def test_inverted_box_is_empty_for_adaptive_sampling():
    got = pool(RAMP, [[3, 3, 1, 1]], 4, 0, True)
    np.testing.assert_array_equal(got, np.zeros((1, 4, 4, 1)))


def test_inverted_box_without_alignment_is_one_cell(ratio, form):
    got = pool(RAMP, [[3, 3, 1, 1], [3, 3, 4, 4]], 4, ratio, False)
    np.testing.assert_allclose(got[0], got[1], atol=1e-5)


def test_boxes_get_no_gradient(ratio, form):
    boxes = tf.constant([[0.7, 0.9, 3.2, 3.4]])
    zero = np.zeros(1, "int32")
    with tf.GradientTape() as tape:
        tape.watch(boxes)
        total = tf.reduce_sum(roi_align([CURVE], boxes, zero, zero, (1,), 2, ratio))
    assert tape.gradient(total, boxes) is None


def test_float16_features_keep_their_dtype(ratio, form):
    got = pool(CURVE.astype("float16"), [[1, 0, 7.5, 6]], 2, ratio, False)
    assert keras.backend.standardize_dtype(got.dtype) == "float16"
    want = FIXTURES[4 if ratio == 0 else 6][5]
    np.testing.assert_allclose(np.asarray(got, "float32")[0, ..., 0], want, rtol=2e-3)


def test_unknown_sizes(ratio, form):
    """Maps whose batch, height and width are known at run time only."""
    zero = np.zeros(1, "int32")
    signature = [tf.TensorSpec((None, None, None, 1)), tf.TensorSpec((None, 4))]
    run = tf.function(
        lambda maps, boxes: roi_align([maps], boxes, zero, zero, (1,), 4, ratio, False), signature
    )
    got = run(RAMP, np.array([INSIDE], "float32"))
    np.testing.assert_allclose(got[0, ..., 0], FIXTURES[0][5], atol=1e-5)
