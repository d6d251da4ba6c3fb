"""Windows out of a picture."""

import numpy as np
import pytest

from kmrcnn.data.augment.crop import RandomCrop, crop, move_mask
from kmrcnn.data.example import MaskCrop
from tests.data.augment.painted import LEVEL, painted, pixels_under, require_agreement


def test_objects_are_cut_moved_and_dropped():
    cropped = crop(painted(), 4, 10, (20, 35))
    np.testing.assert_array_equal(cropped.image, painted().image[4:24, 10:45])
    require_agreement(cropped)
    np.testing.assert_array_equal(cropped.boxes, [[0, 0, 8, 10], [20, 16, 35, 20], [30, 1, 35, 10]])
    assert cropped.area.tolist() == [80, 60, 45]
    assert crop(painted(), 0, 0, (40, 25)).classes.tolist() == [0]
    assert len(crop(painted(), 36, 0, (4, 60)).boxes) == 0


def test_boxes_alone_are_clipped():
    example = painted(masks=False)
    np.testing.assert_array_equal(
        crop(example, 4, 10, (20, 35)).boxes, crop(painted(), 4, 10, (20, 35)).boxes
    )
    assert crop(example, 0, 0, (40, 25)).masks is None


def test_boxes_are_measured_anew_from_masks():
    example = painted()
    example.boxes[0] += (-1, -1, 1, 1)
    np.testing.assert_array_equal(crop(example, 0, 0, (40, 59)).boxes[0], [3, 2, 18, 14])


def test_an_object_without_a_mask_of_its_own_keeps_its_box():
    example = painted()
    masks = (MaskCrop(np.zeros((0, 0), bool), 0, 0), *example.masks[1:])
    object.__setattr__(example, "masks", masks)
    cropped = crop(example, 4, 10, (20, 35))
    np.testing.assert_array_equal(cropped.boxes[0], [0, 0, 8, 10])
    assert len(crop(example, 0, 20, (40, 40)).boxes) == 2


def test_points_outside_lose_their_label():
    cropped = crop(painted(), 4, 10, (20, 35))
    assert cropped.keypoints[0].tolist() == [[0, 0, 0], [7.5, 9.5, 1], [0, 0, 0]]
    assert pixels_under(cropped)[1:].tolist() == [2 * LEVEL, 3 * LEVEL]


@pytest.mark.parametrize("window", [(-1, 0, (4, 4)), (37, 0, (4, 4)), (0, 0, (0, 4))])
def test_window_must_lie_inside(window):
    with pytest.raises(ValueError, match="The window must lie inside"):
        crop(painted(), *window)


def test_random_windows():
    rng, sizes = np.random.default_rng(0), []
    for _ in range(100):
        cropped = RandomCrop(0.5)(painted(), rng)
        require_agreement(cropped)
        sizes.append(cropped.size)
    heights, widths = np.array(sizes).T
    assert heights.min() in (20, 21) and heights.max() in (39, 40)
    assert widths.min() in range(30, 33) and widths.max() in range(58, 61)
    assert RandomCrop(1.0)(painted(), rng).size == (40, 60)


@pytest.mark.parametrize("down", [-60, -13, -3, 0, 5, 39, 50])
@pytest.mark.parametrize("right", [-70, -17, 0, 8, 44, 70])
def test_moved_mask_equals_the_moved_bitmap(down, right):
    mask, size = MaskCrop(np.random.default_rng(0).random((12, 15)) < 0.6, 2, 3), (40, 50)
    canvas = np.zeros((240, 250), bool)
    canvas[100 + down + 2 : 100 + down + 14, 100 + right + 3 : 100 + right + 18] = mask.bitmap
    moved = move_mask(mask, down, right, size)
    np.testing.assert_array_equal(moved.to_full(size), canvas[100:140, 100:150])
