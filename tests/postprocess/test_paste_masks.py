import numpy as np
import pytest

from kmrcnn.postprocess.paste_masks import paste_masks

SIZE = (60, 75)


@pytest.mark.parametrize("suffix", ["", "14"])
def test_integer_box_equals_torchvision(suffix, cases_dir):
    arrays = np.load(cases_dir / "masks.npz")
    masks, want = arrays[f"masks{suffix}"][:, 0], arrays[f"tv{suffix}"][:, 0]
    boxes = arrays["boxes"][: len(masks)]
    got = paste_masks(masks, boxes, SIZE, "integer_box", None)
    np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize("suffix", ["", "14"])
def test_grid_sample_equals_detectron2(suffix, cases_dir):
    arrays = np.load(cases_dir / "masks.npz")
    masks, want = arrays[f"masks{suffix}"][:, 0], arrays[f"d2_float{suffix}"]
    boxes = arrays["boxes"][: len(masks)]
    got = paste_masks(masks, boxes, SIZE, "grid_sample", None)
    assert np.abs(255 * got - want).max() <= 1.001  # stored as whole numbers, cut off
    if not suffix:
        equal = paste_masks(masks, boxes, SIZE) == arrays["d2_bool"]
        assert equal.mean() >= 0.999


@pytest.mark.parametrize("rule", ["grid_sample", "integer_box"])
def test_shape_and_dtype(rule):
    masks, boxes = np.ones((3, 28, 28), "float32"), np.array([[10, 10, 40, 30]] * 3)
    soft = paste_masks(masks, boxes, SIZE, rule, None)
    hard = paste_masks(masks, boxes, SIZE, rule)
    assert soft.shape == hard.shape == (3, *SIZE)
    assert (soft.dtype, hard.dtype) == (np.float32, bool)
    np.testing.assert_array_equal(hard, soft >= 0.5)


def test_full_mask_covers_its_box():
    got = paste_masks(np.ones((1, 28, 28)), np.array([[10, 20, 40, 50]]), SIZE)[0]
    want = np.zeros(SIZE, bool)
    want[20:50, 10:40] = True
    np.testing.assert_array_equal(got, want)


def test_grid_sample_by_hand():
    """A 2 x 2 mask on a 4 x 4 box: pixel centres fall on quarters of a mask cell."""
    mask = np.array([[[0.0, 1.0], [0.0, 1.0]]])
    got = paste_masks(mask, np.array([[1, 1, 5, 5]]), (6, 6), "grid_sample", None)[0]
    row = np.array([0, 0, 0.25, 0.75, 0.75, 0.25])  # beyond the outermost centres it fades to 0
    weight = np.array([0.25, 0.75, 1, 1, 0.75, 0.25])
    want = weight[:, None] * row
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_integer_box_by_hand():
    """A 2 x 2 mask gets a border; its box 2..4 grows to 1..5, five pixels."""
    mask = np.ones((1, 2, 2))
    got = paste_masks(mask, np.array([[2, 2, 4, 4]]), (8, 8), "integer_box", None)[0]
    axis = np.interp(0.8 * np.arange(5) - 0.1, np.arange(4), [0, 1, 1, 0])
    want = np.zeros((8, 8))
    want[1:6, 1:6] = axis[:, None] * axis
    np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("rule", ["grid_sample", "integer_box"])
@pytest.mark.parametrize("threshold", [None, 0.5])
@pytest.mark.parametrize(
    "box",
    [
        (-50, -50, -20, -20),
        (200, 200, 260, 300),
        (-30, 10, -5, 20),
        (80, 0, 90, 60),
        (1e6, 1e6, 2e6, 2e6),
    ],
)
def test_box_outside_the_picture_gives_nothing(box, rule, threshold):
    got = paste_masks(np.ones((1, 28, 28)), np.array([box]), SIZE, rule, threshold)
    assert got.shape == (1, *SIZE)
    assert not got.any()


@pytest.mark.parametrize("rule", ["grid_sample", "integer_box"])
def test_box_partly_outside_is_cut(rule):
    mask = np.random.default_rng(0).random((1, 28, 28)).astype("float32")
    box = np.array([[-20, 30, 36, 86]])  # 56 pixels: the larger box has whole corners, too
    whole = paste_masks(mask, box + [40, 40, 40, 40], (160, 160), rule, None)
    cut = paste_masks(mask, box, SIZE, rule, None)
    np.testing.assert_allclose(cut[0], whole[0, 40:100, 40:115], atol=1e-4)


def test_zero_size_box():
    boxes = np.array([[20, 20, 20, 20], [20, 20, 30, 20], [30, 30, 20, 20]])
    masks = np.ones((3, 28, 28))
    assert not paste_masks(masks, boxes, SIZE, "grid_sample").any()
    # torchvision's rule has at least one pixel
    one = paste_masks(masks[:1], boxes[:1], SIZE, "integer_box")
    assert one.sum() <= 1
    assert paste_masks(masks, boxes, SIZE, "integer_box", None).shape == (3, *SIZE)


@pytest.mark.parametrize("rule", ["grid_sample", "integer_box"])
def test_one_pixel_box(rule):
    got = paste_masks(np.ones((1, 28, 28)), np.array([[20, 10, 21, 11]]), SIZE, rule)[0]
    assert got[10, 20]
    assert got.sum() <= (1 if rule == "grid_sample" else 9)  # torchvision's grows to 3 x 3


def test_threshold_is_inclusive():
    half = np.full((1, 28, 28), 0.5, "float32")
    assert paste_masks(half, np.array([[10, 10, 30, 30]]), SIZE)[0, 12:28, 12:28].all()
    assert not paste_masks(half - 1e-3, np.array([[10, 10, 30, 30]]), SIZE).any()


@pytest.mark.parametrize("rule", ["grid_sample", "integer_box"])
def test_no_masks(rule):
    got = paste_masks(np.zeros((0, 28, 28)), np.zeros((0, 4)), SIZE, rule)
    assert got.shape == (0, *SIZE)


def test_wrong_arguments():
    mask = np.zeros((1, 28, 28))
    with pytest.raises(ValueError, match=r"one mask per box.*boxes.shape=\(2, 4\)"):
        paste_masks(mask, np.zeros((2, 4)), SIZE)
    with pytest.raises(ValueError, match=r"masks.shape=\(1, 28, 14\)"):
        paste_masks(mask[..., :14], np.zeros((1, 4)), SIZE)
    with pytest.raises(ValueError, match="`rule` must be one of.*nearest"):
        paste_masks(mask, np.zeros((1, 4)), SIZE, "nearest")
