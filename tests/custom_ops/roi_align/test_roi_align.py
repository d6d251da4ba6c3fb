"""RoIAlign in all its forms against hand-checked values and torchvision's numbers."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from kmrcnn.custom_ops import fpn_level_areas, is_compiled, library, roi_align
from kmrcnn.custom_ops.roi_align import reference
from kmrcnn.custom_ops.roi_align.roi_align import choose_form

RAMP = np.arange(25, dtype="float32").reshape(1, 5, 5, 1)
CURVE = (np.arange(8)[:, None] ** 2 + 0.5 * np.arange(8)[None, :] ** 2).astype("float32")
CURVE = CURVE[None, ..., None]
INSIDE, OUTSIDE, TINY = [1, 1, 3, 3], [-3, -3, 2, 2], [2, 2, 2.2, 2.2]
PLAIN_RAMP = [[7.5, 8, 8.5, 9], [10, 10.5, 11, 11.5], [12.5, 13, 13.5, 14], [15, 15.5, 16, 16.5]]
ALIGNED_RAMP = (np.array(PLAIN_RAMP) - 3).tolist()

FIXTURES = [  # map, box, size, sampling ratio, aligned, rows of the answer
    (RAMP, INSIDE, 4, 2, False, PLAIN_RAMP),
    (RAMP, INSIDE, 4, 0, False, PLAIN_RAMP),
    (RAMP, INSIDE, 4, 2, True, ALIGNED_RAMP),
    (RAMP, INSIDE, 4, 0, True, ALIGNED_RAMP),
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


@pytest.fixture(
    params=[
        ("compiled", "fixed"),
        ("compiled", "adaptive"),
        ("reference", "fixed"),
        ("reference", "adaptive"),
        ("crop_and_resize", "fixed"),
    ],
    ids="-".join,
)
def variant(request):
    """A form, and whether its sampling is fixed or adaptive."""
    if request.param[0] == "compiled" and not is_compiled():
        pytest.skip("there is no compiled library")
    return request.param


@pytest.fixture
def form(variant):
    return variant[0]


@pytest.fixture
def ratio(variant):
    return 0 if variant[1] == "adaptive" else 2


def pool(maps, boxes, size, ratio, aligned, form, indices=None, strides=None, level_areas=()):
    boxes = np.asarray(boxes, "float32").reshape(-1, 4)
    maps = maps if isinstance(maps, list) else [maps]
    indices = np.zeros(len(boxes)) if indices is None else indices
    strides = strides or (1,) * len(maps)
    arguments = (boxes, indices, strides, size, ratio, aligned, level_areas)
    return _pool_and_gradients(maps, arguments, form)[0]


def _pool_and_gradients(maps, arguments, form, upstream=None):
    """Pooled values, and the gradients of the maps for what comes from above."""

    def run(*maps):
        with tf.GradientTape() as tape:
            tape.watch(maps)
            pooled = roi_align(list(maps), *arguments, form=form)
        if upstream is None:
            return pooled, None
        return pooled, tape.gradient(pooled, maps, output_gradients=tf.constant(upstream))

    # The loops of adaptive sampling are slow one operation at a time; to trace the rest is slower.
    loops = form == "reference" and arguments[4] == 0
    return (tf.function(run) if loops else run)(*map(tf.constant, maps))


def test_fixtures(variant, form):
    fixtures = [f for f in FIXTURES if (f[3] == 0) == (variant[1] == "adaptive")]
    assert len(fixtures) >= 7
    for maps, box, size, ratio, aligned, want in fixtures:
        got = np.asarray(pool(maps, [box], size, ratio, aligned, form))
        assert got.shape == (1, size, size, 1)
        np.testing.assert_allclose(got[0, ..., 0], want, atol=1e-5)


def test_values_and_gradients_equal_torchvision(cases_dir, variant, form):
    arrays = np.load(cases_dir / "roi_align.npz")
    cases = json.loads((cases_dir / "roi_align.json").read_text())["cases"]
    cases = [c for c in cases if (c["sampling_ratio"] == 0) == (variant[1] == "adaptive")]
    assert any(c["output_size"][0] != c["output_size"][1] for c in cases)
    if variant == ("reference", "adaptive"):  # slow to trace: a part is enough
        cases = cases[:6]
    assert len(cases) >= 6
    for case in cases:
        name = case["case"]
        want, upstream, want_gradient = (
            np.moveaxis(arrays[f"{name}_{k}"], 1, -1) for k in ("out", "go", "gi")
        )
        maps, rois = np.moveaxis(arrays[case["x"]], 1, -1), arrays[case["rois"]]
        stride, size = 1 / case["spatial_scale"], tuple(case["output_size"])
        settings = (stride, size, case["sampling_ratio"], case["aligned"])
        arguments = (rois[:, 1:], rois[:, 0], *settings)
        pooled, (gradient,) = _pool_and_gradients([maps], arguments, form, upstream)
        np.testing.assert_allclose(pooled, want, atol=1e-5, err_msg=name)
        assert np.abs(gradient - want_gradient).max() <= 1e-4 * np.abs(want_gradient).max(), name


PYRAMID = [  # key of the answer, level rule, size, ratio, aligned
    ("tv_box", (1e-6, "logarithm"), 7, 2, False),
    ("tv_mask", (1e-6, "logarithm"), 14, 2, False),
    ("tv_adapt", (1e-6, "logarithm"), 7, 0, False),
    ("d2_box_sr0", (1e-8, "ratio"), 7, 0, True),
    ("d2_box_v1_sr2", (1e-8, "ratio"), 7, 2, False),
]


def test_pyramid_equals_reference(cases_dir, variant, form):
    arrays = np.load(cases_dir / "multilevel_roi_align.npz")
    maps = [np.moveaxis(arrays[f"f{i}"], 1, -1) for i in range(4)]
    boxes = np.concatenate([arrays["boxes0"], arrays["boxes1"]])
    indices = np.repeat([0, 1], [len(arrays["boxes0"]), len(arrays["boxes1"])])
    # White noise: coordinates near 50 are good to 4e-6.
    tolerance = 1e-5 * max(np.abs(m).max() for m in maps)
    for key, rule, size, ratio, aligned in PYRAMID:
        if (ratio == 0) == (variant[1] == "adaptive"):
            areas = fpn_level_areas(2, 5, 4, 224.0, *rule)
            got = pool(maps, boxes, size, ratio, aligned, form, indices, (4, 8, 16, 32), areas)
            want = np.moveaxis(arrays[key], 1, -1)
            np.testing.assert_allclose(got, want, atol=tolerance, err_msg=key)


def random_pyramid(channels=4, number=90):
    draw = np.random.default_rng(0)
    maps = [
        draw.normal(size=(2, side, side + 3, channels)).astype("float32") for side in (16, 8, 4)
    ]
    corners = draw.uniform(-20, 70, (number, 2))
    boxes = np.concatenate([corners, corners + draw.uniform(0, 60, (number, 2))], 1)
    return maps, boxes.astype("float32"), draw.integers(-1, 3, number).astype("int32")


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 1, 2, 3])
def test_forms_agree(ratio, aligned):
    """Values and gradients, boxes across all borders and images that do not exist included."""
    maps, boxes, indices = random_pyramid()
    arguments = (boxes, indices, (4, 8, 16), (3, 5), ratio, aligned, (300.0, 1500.0))
    upstream = np.random.default_rng(1).normal(size=(len(boxes), 3, 5, 4)).astype("float32")
    forms = ["reference"] + ["crop_and_resize"] * (ratio > 0) + ["compiled"] * is_compiled()
    results = [_pool_and_gradients(maps, arguments, form, upstream) for form in forms]
    assert np.abs(results[0][0]).max() > 1
    for pooled, gradients in results[1:]:
        np.testing.assert_allclose(pooled, results[0][0], atol=5e-5)
        for got, want in zip(gradients, results[0][1]):
            np.testing.assert_allclose(got, want, atol=5e-5)


@pytest.mark.parametrize("eager", [True, False])
def test_no_boxes_give_no_output(ratio, eager, form):
    run = lambda: roi_align(RAMP, np.zeros((0, 4)), np.zeros(0), 1, 3, ratio, form=form)  # noqa: E731
    assert (run() if eager else tf.function(run)()).shape == (0, 3, 3, 1)


def test_no_boxes_give_zero_gradients(ratio, form):
    maps = tf.constant(CURVE)
    with tf.GradientTape() as tape:
        tape.watch(maps)
        pooled = roi_align(maps, np.zeros((0, 4)), np.zeros(0), 1, 3, ratio, form=form)
    gradient = tape.gradient(pooled, maps, unconnected_gradients="zero")
    np.testing.assert_array_equal(tf.convert_to_tensor(gradient), np.zeros_like(CURVE))


def test_number_of_boxes_may_be_a_whole_block(ratio, form):
    boxes = np.tile(np.array([INSIDE], "float32"), (reference.BLOCK, 1))
    got = np.asarray(pool(RAMP, boxes, 4, ratio, False, form))
    np.testing.assert_allclose(got[-1, ..., 0], PLAIN_RAMP, atol=1e-5)


ABSURD = [
    [np.nan] * 4,
    [1, 1, np.nan, 3],
    [np.inf] * 4,
    [-np.inf, -np.inf, np.inf, np.inf],
    [-3e38, -3e38, 3e38, 3e38],
    [1e7, 1e7, 2e7, 2e7],
]


def test_absurd_boxes_give_zeros_and_do_not_touch_others(ratio, form):
    got = np.asarray(pool(RAMP, [INSIDE, *ABSURD, INSIDE], 4, ratio, True, form))[..., 0]
    np.testing.assert_allclose(got[[0, -1]], [ALIGNED_RAMP] * 2, atol=1e-5)
    np.testing.assert_allclose(got[1:-1], 0, atol=1e-5)


@pytest.mark.parametrize("index", [-1, 1, 2**31 - 1, -(2**31)])
def test_image_that_does_not_exist_gives_zeros(ratio, form, index):
    got = np.asarray(pool(RAMP, [INSIDE, INSIDE], 4, ratio, False, form, indices=[index, 0]))
    np.testing.assert_array_equal(got[0], 0)
    np.testing.assert_allclose(got[1, ..., 0], PLAIN_RAMP, atol=1e-5)


def test_huge_box_is_finite_and_cheap(ratio, form):
    got = np.asarray(pool(RAMP, [[-1e5, -1e5, 1e5, 1e5]], 3, ratio, True, form))
    assert np.isfinite(got).all()
    assert np.abs(got).max() <= 24


def test_inverted_aligned_box(ratio, form):
    """Sampled backwards under fixed sampling, empty under adaptive sampling."""
    got = np.asarray(pool(RAMP, [[3, 3, 1, 1]], 4, ratio, True, form))[0, ..., 0]
    want = np.flip(ALIGNED_RAMP) if ratio else np.zeros((4, 4))
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_inverted_box_without_alignment_is_one_cell(ratio, form):
    got = pool(RAMP, [[3, 3, 1, 1], [3, 3, 4, 4]], 4, ratio, False, form)
    np.testing.assert_allclose(got[0], got[1], atol=1e-5)


def test_boxes_get_no_gradient(ratio, form):
    boxes = tf.constant([[0.7, 0.9, 3.2, 3.4]])
    with tf.GradientTape() as tape:
        tape.watch(boxes)
        total = tf.reduce_sum(roi_align(CURVE, boxes, np.zeros(1), 1, 2, ratio, form=form))
    assert tape.gradient(total, boxes) is None


@pytest.mark.parametrize("dtype, tolerance", [("float16", 2e-3), ("bfloat16", 1.6e-2)])
def test_narrow_features_keep_their_dtype(ratio, form, dtype, tolerance):
    maps = tf.cast(tf.repeat(CURVE, 9, axis=-1), dtype)  # 9: a vector and a rest
    with tf.GradientTape() as tape:
        tape.watch(maps)
        pooled = roi_align(maps, [[1, 0, 7.5, 6]], [0], 1, 2, ratio, False, form=form)
    gradient = tape.gradient(pooled, maps)
    assert pooled.dtype == gradient.dtype == tf.as_dtype(dtype)
    want = FIXTURES[4 if ratio == 0 else 6][5]
    for channel in (0, 8):
        got = np.asarray(tf.cast(pooled, "float32"))[0, ..., channel]
        np.testing.assert_allclose(got, want, rtol=tolerance)
    # Every bin's weights add up to one.
    sums = np.asarray(tf.cast(gradient, "float32")).sum((0, 1, 2))
    np.testing.assert_allclose(sums, 4, rtol=tolerance)


def test_float64_features_are_pooled_without_the_library():
    pooled = roi_align(CURVE.astype("float64"), [[1, 0, 7.5, 6]], [0], 1, 2, 2, False)
    assert pooled.dtype in (tf.float64, tf.float32)
    np.testing.assert_allclose(pooled[0, ..., 0], FIXTURES[6][5], atol=1e-5)


def test_unknown_sizes(ratio, form):
    """Maps whose batch, height and width are known at run time only; the rest stays static."""
    signature = [tf.TensorSpec((None, None, None, 1)), tf.TensorSpec((None, 4))]

    @tf.function(input_signature=signature)
    def run(maps, boxes):
        pooled = roi_align(maps, boxes, tf.zeros(tf.shape(boxes)[0]), 1, 4, ratio, False, form=form)
        assert pooled.shape[1:] == (4, 4, 1)
        return pooled

    got = run(RAMP, np.array([INSIDE], "float32"))
    np.testing.assert_allclose(got[0, ..., 0], PLAIN_RAMP, atol=1e-5)


def test_numerical_gradient(ratio, form):
    draw = np.random.default_rng(0)
    maps = [draw.normal(size=(2, side, side, 2)).astype("float32") for side in (6, 4)]
    boxes = np.array([[1, 2, 15, 20], [-4, 3, 9, 30], [0, 0, 32, 32]], "float32")

    @tf.function
    def run(*maps):
        return roi_align(
            list(maps), boxes, [0, 1, 1], (4, 8), (2, 3), ratio, True, (600.0,), form=form
        )

    theoretical, numerical = tf.test.compute_gradient(run, list(map(tf.constant, maps)), 0.5)
    assert all(np.abs(t).max() > 0.05 for t in theoretical)
    for got, want in zip(theoretical, numerical):
        np.testing.assert_allclose(got, want, atol=1e-5)


# === choosing a form ===


def test_library_is_chosen_where_there_is_one():
    expected = "compiled" if is_compiled() else "crop_and_resize"
    assert choose_form(2) == expected
    assert choose_form(2, "float64") == "crop_and_resize"
    assert choose_form(0, "float64") == "reference"


def test_forms_without_the_library(monkeypatch):
    monkeypatch.setattr(library, "is_compiled", lambda: False)
    assert choose_form(2) == "crop_and_resize"
    assert choose_form(0) == "reference"
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    assert choose_form(2) == choose_form(0) == "reference"


@pytest.mark.parametrize("ratio", [2, 0])
def test_xla_gets_the_reference_form(ratio):
    """In a function called by the compiled one, too."""
    maps, boxes, indices = random_pyramid(number=20)
    arguments = (boxes, indices, (4, 8, 16), 3, ratio, True, (300.0, 1500.0))
    chosen = []

    @tf.function
    def inner(maps):
        chosen.append(choose_form(ratio))
        return roi_align(maps, *arguments)

    compiled = tf.function(lambda maps: inner(maps), jit_compile=True)(maps)
    assert set(chosen) == {"reference"}
    np.testing.assert_allclose(compiled, roi_align(maps, *arguments), atol=2e-5)


def test_gradient_under_xla():
    maps, boxes, indices = random_pyramid(number=20)

    def gradient(maps):
        pooled = roi_align(maps, boxes, indices, 4, 3, 2, True)
        return tf.gradients(tf.sin(pooled), maps)[0]

    got = tf.function(gradient, jit_compile=True)(tf.constant(maps[0]))
    np.testing.assert_allclose(got, tf.function(gradient)(tf.constant(maps[0])), atol=2e-5)


# === errors ===


@pytest.mark.parametrize(
    "change, message",
    [
        ({"features": RAMP[0]}, r"`features` must have shape \(B, h, w, C\).*\(5, 5, 1\)"),
        ({"features": [RAMP, RAMP.repeat(2, -1)], "strides": (1, 2)}, "same C on all levels"),
        ({"features": [RAMP] * 9}, "1 to 8 maps. Received: 9"),
        ({"features": []}, "1 to 8 maps. Received: 0"),
        ({"boxes": np.zeros((2, 5))}, r"`boxes` must have shape \(N, 4\).*\(2, 5\)"),
        ({"boxes": np.zeros(4)}, r"`boxes` must have shape \(N, 4\).*\(4,\)"),
        ({"batch_indices": np.zeros((2, 1))}, r"`batch_indices` must have shape \(N,\).*\(2, 1\)"),
        ({"strides": (1, 2)}, r"`strides` must be 1 positive numbers.*\(1, 2\)"),
        ({"strides": 0}, "`strides` must be 1 positive"),
        ({"output_size": 0}, "`output_size` must be a positive whole number"),
        ({"output_size": (2, 3, 4)}, r"`output_size`.*\(2, 3, 4\)"),
        ({"output_size": (2.5, 3)}, r"`output_size`.*\(2.5, 3\)"),
        ({"sampling_ratio": -1}, "`sampling_ratio` must be a whole number from 0 to 64.*-1"),
        ({"sampling_ratio": 65}, "`sampling_ratio`.*65"),
        ({"level_areas": (9.0,)}, "`level_areas` must be 0 ascending areas"),
        ({"form": "fastest"}, "`form` must be None.*'fastest'"),
        ({"form": "crop_and_resize", "sampling_ratio": 0}, "needs the TensorFlow backend and"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    arguments = {
        "features": RAMP,
        "boxes": np.zeros((2, 4)),
        "batch_indices": np.zeros(2),
        "strides": 1,
        "output_size": 2,
    }
    with pytest.raises(ValueError, match=message):
        roi_align(**arguments | change)


def test_level_areas_must_ascend():
    with pytest.raises(ValueError, match=r"2 ascending areas.*\(9.0, 4.0\)"):
        roi_align([RAMP] * 3, np.zeros((1, 4)), [0], (1, 2, 4), 2, level_areas=(9.0, 4.0))


def test_compiled_form_is_refused_without_a_library(monkeypatch):
    monkeypatch.setattr(library, "is_compiled", lambda: False)
    with pytest.raises(RuntimeError, match="needs the compiled library"):
        roi_align(RAMP, [INSIDE], [0], 1, 2, form="compiled")
