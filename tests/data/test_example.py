"""Example and MaskCrop: conversions and complaints."""

import numpy as np
import pytest

from kmrcnn.data.example import Example, MaskCrop

IMAGE = np.zeros((6, 8, 3), np.uint8)


def _masks():
    masks = np.zeros((2, 6, 8), bool)
    masks[0, 1:3, 2:7] = True
    masks[1, 5, 0] = True
    return masks


def test_from_full_masks_gives_tight_boxes_and_areas():
    example = Example.from_full_masks(IMAGE, _masks(), [3, 0], image_id="a")
    np.testing.assert_array_equal(example.boxes, [[2, 1, 7, 3], [0, 5, 1, 6]])
    np.testing.assert_array_equal(example.area, [10, 1])
    np.testing.assert_array_equal(example.classes, [3, 0])
    assert example.boxes.dtype == np.float32
    assert example.classes.dtype == np.int32
    assert example.is_crowd.tolist() == [False, False]
    assert example.size == (6, 8)


def test_full_masks_restores_what_was_cropped():
    example = Example.from_full_masks(IMAGE, _masks(), [0, 1])
    np.testing.assert_array_equal(example.full_masks(), _masks())


def test_empty_mask_round_trip():
    crop = MaskCrop.from_full(np.zeros((6, 8), bool))
    assert crop.bitmap.shape == (0, 0)
    assert not crop.to_full((6, 8)).any()
    np.testing.assert_array_equal(crop.box(), np.zeros(4))


def test_picture_without_objects():
    example = Example.from_full_masks(IMAGE, np.zeros((0, 6, 8), bool), [])
    assert example.boxes.shape == (0, 4)
    assert example.full_masks().shape == (0, 6, 8)
    assert example.area.shape == (0,)


def test_area_defaults_to_that_of_boxes_without_masks():
    boxes = np.array([[0, 0, 2.5, 4]], np.float32)
    example = Example(IMAGE, boxes, np.zeros(1, np.int32))
    np.testing.assert_array_equal(example.area, [10])
    with pytest.raises(ValueError, match="no masks"):
        example.full_masks()


@pytest.mark.parametrize(
    "change, match",
    [
        ({"image": IMAGE.astype(np.float32)}, "`image` must be a uint8"),
        ({"image": IMAGE[:, :, 0]}, "`image`.*shape"),
        ({"boxes": np.zeros((1, 4))}, "`boxes` must be a float32"),
        ({"boxes": np.zeros((1, 5), np.float32)}, r"`boxes`.*\(any, 4\)"),
        ({"classes": np.zeros(2, np.int32)}, r"`classes`.*\(1\)"),
        ({"classes": [0]}, "`classes`.*list"),
        ({"is_crowd": np.zeros(1, np.uint8)}, "`is_crowd`"),
        ({"area": np.zeros(1, np.float64)}, "`area`"),
        ({"keypoints": np.zeros((1, 17, 2), np.float32)}, "`keypoints`"),
        ({"masks": ()}, "one mask per box"),
        ({"masks": (MaskCrop(np.ones((2, 2), bool), 5, 0),)}, "inside the image"),
        ({"masks": (MaskCrop(np.ones((2, 2), bool), 0, -1),)}, "inside the image"),
    ],
)
def test_wrong_arrays_are_refused(change, match):
    right = {
        "image": IMAGE,
        "boxes": np.array([[0, 0, 2, 2]], np.float32),
        "classes": np.zeros(1, np.int32),
        "masks": (MaskCrop(np.ones((2, 2), bool), 0, 0),),
    }
    Example(**right)
    with pytest.raises(ValueError, match=match):
        Example(**{**right, **change})


@pytest.mark.parametrize("bitmap", [np.ones((2, 2), np.uint8), np.ones(4, bool)])
def test_wrong_bitmaps_are_refused(bitmap):
    with pytest.raises(ValueError, match="bitmap"):
        MaskCrop(bitmap, 0, 0)
