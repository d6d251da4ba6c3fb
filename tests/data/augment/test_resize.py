"""Resizing, and the affine map of masks behind it."""

import numpy as np
import pytest

from kmrcnn.data.augment.resize import resize
from kmrcnn.data.augment.warp import scaling, warp_mask
from kmrcnn.data.example import MaskCrop
from tests.data.augment.painted import LEVEL, painted, pixels_under, require_agreement


def test_twice_the_size_doubles_every_pixel():
    doubled = resize(painted(keypoints=True), (80, 120))
    np.testing.assert_array_equal(doubled.boxes, painted().boxes * 2)
    expected = painted().full_masks().repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_array_equal(doubled.full_masks(), expected)
    assert doubled.keypoints[0].tolist() == [[7, 5, 2], [35, 27, 1], [0, 0, 0]]
    assert pixels_under(doubled).tolist() == [LEVEL, 2 * LEVEL, 3 * LEVEL]


def test_half_the_size_averages():
    places = ((2, 4, 12, 16), (20, 30, 16, 24))
    halved = resize(painted(places), (20, 30))
    require_agreement(halved)
    np.testing.assert_array_equal(halved.boxes, painted(places).boxes / 2)


@pytest.mark.parametrize("size", [(30, 47), (61, 83), (33, 90), (90, 41)])
def test_other_sizes(size):
    resized = resize(painted(), size)
    assert resized.size == size
    factors = np.array([size[1] / 60, size[0] / 40] * 2, np.float32)
    np.testing.assert_allclose(resized.boxes, painted().boxes * factors, rtol=1e-6)
    for box, mask in zip(resized.boxes, resized.masks):
        np.testing.assert_allclose(mask.box(), box, atol=0.51)
        assert mask.bitmap.mean() > 0.98  # enlarged corners may be round


def test_objects_below_a_pixel_vanish_and_their_picture_stays():
    resized = resize(painted(((2, 3, 1, 1),)), (4, 6))
    assert resized.size == (4, 6) and len(resized.boxes) == len(resized.masks) == 0
    assert resized.keypoints.shape == (0, 3, 3)


def test_one_channel_and_many_stay():
    assert resize(painted(channels=1), (20, 90)).image.shape == (20, 90, 1)
    assert resize(painted(channels=7), (50, 30)).image.shape == (50, 30, 7)


def test_same_size_is_the_same_example():
    example = painted()
    assert resize(example, (40, 60)) is example


def test_size_is_checked():
    with pytest.raises(ValueError, match=r"Received: size=\(0, 5\)"):
        resize(painted(), (0, 5))


@pytest.mark.parametrize("old, new", [((100, 130), (37, 61)), ((100, 130), (33, 300))])
def test_mask_covers_what_an_exact_average_covers(old, new):
    """Against the exact share of every new pixel that the old bitmap covers."""
    y, x = np.mgrid[: old[0], : old[1]] + 0.5
    bitmap = ((y - 45) / 40) ** 2 + ((x - 70) / 50) ** 2 < 1

    def shares(length, target):
        edges = np.arange(target + 1) * length / target
        cells = np.arange(length)
        overlap = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
        return np.maximum(overlap, 0) * target / length

    coverage = shares(old[0], new[0]) @ bitmap @ shares(old[1], new[1]).T
    warped = warp_mask(MaskCrop.from_full(bitmap), scaling(old, new), new).to_full(new)
    assert warped[coverage > 0.7].all() and not warped[coverage < 0.3].any()
    assert warped.sum() == pytest.approx(coverage.sum(), rel=0.01)
