"""Rotation by any angle."""

from math import pi

import numpy as np
import pytest

from kmrcnn.data.augment.quarter_turn import quarter_turn
from kmrcnn.data.augment.rotate import FILL, RandomRotation, rotate
from tests.data.augment.painted import LEVEL, painted, painted_masks, pixels_under


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_quarter_of_a_square_is_the_exact_quarter_turn(turns):
    example = painted(size=(60, 60))
    turned, expected = rotate(example, turns * pi / 2), quarter_turn(example, turns)
    np.testing.assert_array_equal(turned.image, expected.image)
    np.testing.assert_array_equal(turned.full_masks(), expected.full_masks())
    np.testing.assert_array_equal(turned.boxes, expected.boxes)
    np.testing.assert_allclose(turned.keypoints, expected.keypoints, atol=1e-5)


@pytest.mark.parametrize("angle", [-0.7, -0.1, 0.3, 1.2])
def test_objects_follow_the_picture(angle):
    example = painted(((20, 20, 15, 18),), size=(60, 60))
    turned = rotate(example, angle)
    mask, expected = turned.full_masks()[0], painted_masks(turned.image, [0])[0]
    y, x = np.mgrid[:60, :60] - 29.5
    expected &= np.hypot(x, y) < 25  # farther out the gray of the corners blends with the black
    assert (mask ^ expected).sum() <= 0.03 * expected.sum()
    np.testing.assert_array_equal(turned.boxes[0], turned.masks[0].box())
    assert mask.sum() == pytest.approx(15 * 18, rel=0.03)  # turned, not scaled
    middle = turned.keypoints[0, :2, :2].mean(axis=0)
    assert mask[int(middle[1]), int(middle[0])]


def test_key_points_and_fill():
    turned = rotate(painted(((25, 20, 15, 18),), size=(60, 60)), 0.4)
    assert (turned.image[0, 0] == FILL).all() and (turned.image[-1, -1] == FILL).all()
    below = pixels_under(rotate(painted(((20, 28, 15, 5),), size=(60, 60)), 0.05))
    assert below[0] == pytest.approx(LEVEL, abs=10)  # the corner of the object


def test_objects_turned_out_of_the_picture_are_dropped():
    example = painted(((0, 0, 6, 6), (20, 70, 8, 8)), size=(60, 100))
    turned = rotate(example, pi / 2)
    assert turned.classes.tolist() == [1]
    assert turned.size == (60, 100)


def test_boxes_alone_hold_the_turned_box():
    turned = rotate(painted(((20, 20, 20, 20),), size=(60, 60), masks=False), pi / 4)
    half = 10 * 2**0.5
    expected = [[30 - half, 30 - half, 30 + half, 30 + half]]
    np.testing.assert_allclose(turned.boxes, expected, atol=1e-4)


def test_angles_are_drawn_from_both_sides():
    rng, example = np.random.default_rng(0), painted(((25, 48, 4, 4),), size=(60, 60))
    rows = [RandomRotation(0.5)(example, rng).boxes[0, 1] for _ in range(30)]
    assert min(rows) < 18 and max(rows) > 32  # above and below where it was
