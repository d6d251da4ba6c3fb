"""Masks in their windows, and the sequence that stands for an array of them."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from kmrcnn.structures.detections import Detections
from kmrcnn.structures.mask_crop import CroppedMasks, MaskCrop
from kmrcnn.structures.masks import mask_to_polygons, mask_to_rle

SIZE = (20, 30)
PLACES = {
    "inside": (3, 9, 12, 25),
    "first corner": (0, 6, 0, 5),
    "last corner": (15, 20, 22, 30),
    "everything": (0, 20, 0, 30),
}


def blob(top: int, bottom: int, left: int, right: int, seed: int = 0) -> np.ndarray:
    """A full mask whose window is the given one, with holes."""
    mask = np.zeros(SIZE, bool)
    window = mask[top:bottom, left:right]
    window[:] = np.random.default_rng(seed).random(window.shape) < 0.6
    window[[0, -1], [0, -1]] = True
    return mask


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_crop_says_what_the_full_mask_says(place):
    mask = blob(*place)
    crop = MaskCrop.from_full(mask)
    top, bottom, left, right = place
    assert crop.bitmap.shape == (bottom - top, right - left)
    assert crop.box().tolist() == [left, top, right, bottom]
    np.testing.assert_array_equal(crop.to_full(SIZE), mask)
    assert crop.to_rle(SIZE) == mask_to_rle(mask)
    for got, want in zip(crop.to_polygons(), mask_to_polygons(mask), strict=True):
        np.testing.assert_allclose(got, want)


def test_moved():
    crop = MaskCrop.from_full(blob(3, 9, 12, 25)).moved(5, -12)
    np.testing.assert_array_equal(crop.to_full(SIZE), np.roll(blob(3, 9, 12, 25), (5, -12), (0, 1)))


def test_nothing_in_the_mask():
    crop = MaskCrop.from_full(np.zeros(SIZE, bool))
    assert crop.bitmap.shape == (0, 0) and not crop.to_full(SIZE).any()
    assert coco_mask.area(crop.to_rle(SIZE)) == 0 and crop.to_polygons() == []


@pytest.mark.parametrize("bitmap", [np.zeros((2, 2), np.uint8), np.zeros((1, 2, 2), bool)])
def test_only_bool_bitmaps(bitmap):
    with pytest.raises(ValueError, match=r"`bitmap` must be a \(h, w\) bool array"):
        MaskCrop(bitmap, 0, 0)


def cropped() -> tuple[CroppedMasks, np.ndarray]:
    full = np.stack([blob(*place) for place in PLACES.values()])
    return CroppedMasks(map(MaskCrop.from_full, full), SIZE), full


def test_sequence_stands_for_the_array():
    masks, full = cropped()
    assert masks.shape == full.shape and len(masks) == len(full) and masks.dtype == full.dtype
    np.testing.assert_array_equal(masks, full)
    assert np.asarray(masks, np.float32).dtype == np.float32
    for one, want in zip(masks, full, strict=True):
        np.testing.assert_array_equal(one, want)
    assert repr(masks) == "CroppedMasks(4 of 20x30 px)"


@pytest.mark.parametrize(
    "index", [slice(1, 3), [3, 1], np.array([True, False, True, False]), np.array([], int)]
)
def test_parts_are_those_of_the_array(index):
    masks, full = cropped()
    part = masks[index]
    assert isinstance(part, CroppedMasks)
    np.testing.assert_array_equal(np.asarray(part), full[index])
    np.testing.assert_array_equal(masks[-1], full[-1])


@pytest.mark.parametrize("top, left", [(-1, 0), (0, -1), (19, 0), (0, 29)])
def test_crops_stay_inside_the_image(top, left):
    with pytest.raises(ValueError, match="inside the image"):
        CroppedMasks([MaskCrop(np.ones((2, 2), bool), top, left)], SIZE)


def test_memory_does_not_depend_on_the_picture():
    huge = CroppedMasks([MaskCrop(np.ones((5, 5), bool), 10**6, 10**6)] * 3, (10**7, 10**7))
    assert huge.shape == (3, 10**7, 10**7)
    assert huge[1:].crop(0).box().tolist() == [10**6, 10**6, 10**6 + 5, 10**6 + 5]


def test_detections_treat_both_alike():
    masks, full = cropped()
    boxes = np.stack([MaskCrop.from_full(mask).box() for mask in full])
    scores = np.float32([0.9, 0.8, 0.7, 0.6])
    one = Detections(boxes, scores, np.zeros(4, int), SIZE, masks, ("nucleus",))
    other = Detections(boxes, scores, np.zeros(4, int), SIZE, full, ("nucleus",))
    assert one.to_coco(1) == other.to_coco(1)
    assert one.filter(0.65).to_dict() == other.filter(0.65).to_dict()
    np.testing.assert_array_equal(one[1].mask, other[1].mask)
