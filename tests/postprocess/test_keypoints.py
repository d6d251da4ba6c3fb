"""Heatmaps to keypoints: against both references, by hand, and in the graph."""

import cv2
import numpy as np
import pytest

from kmrcnn.layers.deconv_upsample import double
from kmrcnn.postprocess.keypoint_window import search_windows
from kmrcnn.postprocess.keypoints import double_heatmaps, heatmaps_to_keypoints


@pytest.mark.parametrize("decode", [heatmaps_to_keypoints, search_windows])
@pytest.mark.parametrize("score", ["logit", "probability"])
def test_reference_case(cases_dir, decode, score):
    case = np.load(cases_dir / "keypoints.npz")
    want = case["d2"][..., [0, 1, 3]]
    if score == "logit":
        want = np.concatenate([case["tv_xy"][..., :2], case["tv_scores"][..., None]], axis=-1)
    found = np.asarray(decode(np.moveaxis(case["heatmaps"], 1, -1), case["rois"], score))
    np.testing.assert_allclose(found[..., :2], want[..., :2], atol=1e-4)
    np.testing.assert_allclose(found[..., 2], want[..., 2], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [(56, 56), (112, 168), (30, 700)])
def test_a_single_peak_is_found_where_it_is(size):
    height, width = size
    maps = np.zeros((1, 56, 56, 1), "float32")
    maps[0, 10:13, 40:43, 0] = [[1, 2, 1], [2, 9, 2], [1, 2, 1]]
    boxes = np.float32([[5, 7, 5 + width, 7 + height]])
    for decode in (heatmaps_to_keypoints, search_windows):
        x, y, value = np.asarray(decode(maps, boxes, "logit"))[0, 0]
        assert x == pytest.approx(5 + 41.5 / 56 * width, abs=0.51)
        assert y == pytest.approx(7 + 11.5 / 56 * height, abs=0.51)
        assert 5 < value <= 9.01  # pixels may lie beside the peak


@pytest.mark.parametrize("side", [20.3, 90.0, 300.7, 1333.0])
def test_the_graph_finds_the_peaks_of_smooth_maps(side):
    rng = np.random.default_rng(int(side))
    maps = rng.normal(0, 1, (40, 56, 56)).astype("float32")
    maps = np.stack([cv2.GaussianBlur(one, (0, 0), 4) for one in maps])[..., None] * 50
    boxes = np.tile(np.float32([3, 4, 3 + side, 4 + 0.7 * side]), (40, 1))
    exact = heatmaps_to_keypoints(maps, boxes, "logit")
    found = np.asarray(search_windows(maps, boxes, "logit"))
    assert (np.abs(found - exact).max(axis=(1, 2)) < 1e-2).mean() >= 0.95


def test_resizing_is_opencvs_and_the_doubling_the_graphs():
    """OpenCV's bicubic resize has PyTorch's coefficient and centres."""
    rng = np.random.default_rng(0)
    maps = rng.normal(0, 3, (5, 56, 56, 2)).astype("float32")
    sides = rng.uniform(3, 200, (5, 2)).astype("float32")
    boxes = np.concatenate([np.zeros((5, 2)), sides], axis=1).astype("float32")
    found = heatmaps_to_keypoints(maps, boxes, "logit")
    for one, (width, height), points in zip(maps, sides, found):
        size = int(np.ceil(width)), int(np.ceil(height))
        for joint in range(2):
            resized = cv2.resize(one[..., joint], size, interpolation=cv2.INTER_CUBIC)
            y, x = np.unravel_index(resized.argmax(), resized.shape)
            want = (x + 0.5) * width / size[0], (y + 0.5) * height / size[1], resized.max()
            np.testing.assert_allclose(points[joint], want, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(double_heatmaps(maps), double(maps), atol=1e-5)


@pytest.mark.parametrize("score", ["logit", "probability"])
@pytest.mark.parametrize("decode", [heatmaps_to_keypoints, search_windows])
def test_nothing_found(decode, score):
    none = decode(np.zeros((0, 8, 8, 3), "float32"), np.zeros((0, 4), "float32"), score)
    assert none.shape == (0, 3, 3)
    assert double_heatmaps(np.zeros((0, 8, 8, 3), "float32")).shape == (0, 16, 16, 3)


def test_tiny_boxes():
    maps = np.random.default_rng(0).normal(0, 1, (1, 8, 8, 3)).astype("float32")
    point = np.float32([[4, 5, 4, 5]])  # counts as one pixel, as in the references
    for decode in (heatmaps_to_keypoints, search_windows):
        np.testing.assert_allclose(
            np.asarray(decode(maps, point, "logit"))[0, :, :2], [[4.5, 5.5]] * 3
        )


@pytest.mark.parametrize(
    "maps, boxes, score, word",
    [((2, 8, 8, 3), 1, "logit", "boxes.shape"), ((1, 8, 9, 3), 1, "logit", "heatmaps.shape")]
    + [((1, 8, 8, 3), 1, "softmax", "softmax")],
)
def test_errors(maps, boxes, score, word):
    with pytest.raises(ValueError, match=word):
        heatmaps_to_keypoints(np.zeros(maps), np.zeros((boxes, 4)), score)
