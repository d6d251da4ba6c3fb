import numpy as np
import pytest
from pycocotools import mask as coco_mask

from kmrcnn.data.example import MaskCrop
from kmrcnn.data.instance_masks import decode_mask, require_rle, rle_box
from kmrcnn.structures.masks import mask_to_box, polygons_to_mask

SIZE = (40, 60)


@pytest.mark.parametrize("decimals", [0, 1, 2, 6])
@pytest.mark.parametrize("reach", [0, 30])
def test_polygons_fill_the_pixels_that_pycocotools_fills(decimals, reach):
    rng = np.random.default_rng(decimals)
    for _ in range(200):
        center = rng.uniform(-reach, np.array(SIZE[::-1]) + reach)
        points = np.round(center + rng.normal(0, 8, (rng.integers(3, 8), 2)), decimals)
        found = decode_mask([points], SIZE).to_full(SIZE)
        np.testing.assert_array_equal(found, polygons_to_mask([points], SIZE))


def test_parts_are_united():
    square = np.array([[2, 3], [5, 3], [5, 6], [2, 6]])
    crop = decode_mask([square, square + [20, 10]], SIZE)
    expected = np.zeros(SIZE, bool)
    expected[3:6, 2:5] = expected[13:16, 22:25] = True
    np.testing.assert_array_equal(crop.to_full(SIZE), expected)
    assert crop.bitmap.shape == (13, 23)


@pytest.mark.parametrize(
    "segmentation",
    [
        None,
        [np.array([[70, 3], [75, 3], [75, 6.0]])],
        [np.array([[-9, 3], [-5, 3], [-5, 6.0]])],
        MaskCrop(np.ones((3, 3), bool), 50, 2),
        MaskCrop(np.ones((3, 3), bool), -3, 2),
    ],
)
def test_what_lies_outside_is_empty(segmentation):
    assert decode_mask(segmentation, SIZE).bitmap.shape == (0, 0)


def test_a_bitmap_is_clipped():
    crop = decode_mask(MaskCrop(np.ones((6, 8), bool), -2, 56), SIZE)
    assert (crop.top, crop.left, crop.bitmap.shape) == (0, 56, (4, 4))


def test_run_lengths_of_any_length_are_accepted():
    rng = np.random.default_rng(0)
    for density in (0.0, 0.01, 0.5, 0.99, 1.0):
        for height, width in ((1, 1), (1, 50), (37, 41), (500, 700)):
            mask = rng.random((height, width)) < density
            rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
            require_rle(rle, (height, width))
            np.testing.assert_array_equal(decode_mask(rle, mask.shape).to_full(mask.shape), mask)


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ({"size": [2, 2], "counts": [4]}, "run lengths are for 2 x 2"),
        ({"size": list(SIZE), "counts": [4]}, "add up to .* 2400. Received: sum=4"),
        ({"size": list(SIZE), "counts": [2410, -10]}, "add up"),
        ({"size": list(SIZE), "counts": ""}, "add up"),
        ({"size": list(SIZE), "counts": b"P"}, "no run lengths"),  # its successor is missing
        ({"size": list(SIZE), "counts": "  "}, "no run lengths"),
        ({"size": list(SIZE), "counts": "o" * 30 + "0"}, "no run lengths"),
        ({"size": list(SIZE)}, "no run lengths"),
        ({"size": 5, "counts": [5]}, "no run lengths"),
        ({"size": "40", "counts": [0]}, "no run lengths"),
        ({"size": list(SIZE), "counts": [10**400]}, "no run lengths"),
        ({"size": list(SIZE), "counts": [2**62] * 4 + [2400]}, "add up"),  # to 2400 in 64 bits
    ],
)
def test_broken_run_lengths_are_errors(rle, message):
    with pytest.raises(ValueError, match=message):
        decode_mask(rle, SIZE)


@pytest.mark.parametrize(
    "rle",
    [
        {"size": [10**9, 10**9], "counts": [0, 10**18]},
        {"size": [-20, -30], "counts": [600]},
        {"size": [10**400, 1], "counts": [5]},
    ],
)
def test_sizes_that_no_picture_has_are_errors(rle):
    with pytest.raises(ValueError, match="at most 4294967295 pixels"):
        require_rle(rle)


def test_the_box_of_run_lengths_is_that_of_their_bitmap():
    rng = np.random.default_rng(0)
    for density in (0.0, 0.005, 0.05, 0.5, 1.0):
        for height, width in ((1, 1), (1, 50), (50, 1), (37, 41)):
            mask = rng.random((height, width)) < density
            rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
            assert rle_box(rle) == tuple(mask_to_box(mask))


def test_run_lengths_of_zero_have_no_box():
    assert rle_box({"size": [4, 5], "counts": [7, 0, 3, 0, 10]}) == (0, 0, 0, 0)
    assert rle_box({"size": [4, 5], "counts": [7, 0, 3, 1, 9, 0]}) == (2, 2, 3, 3)
