"""Mirroring."""

import numpy as np
import pytest

from kmrcnn.data.augment.flip import HorizontalFlip, VerticalFlip, flip
from tests.data.augment.painted import LEVEL, painted, pixels_under, require_agreement


@pytest.mark.parametrize("axis", [0, 1])
def test_objects_follow_the_picture(axis):
    flipped = flip(painted(), axis)
    np.testing.assert_array_equal(flipped.image, np.flip(painted().image, axis))
    require_agreement(flipped)
    assert pixels_under(flipped, 0).tolist() == pixels_under(flipped, 1).tolist()
    assert pixels_under(flipped, 0).tolist() == [LEVEL, 2 * LEVEL, 3 * LEVEL]


def test_annotated_boxes_are_mirrored_as_they_are():
    example = painted(((2, 3, 12, 15),), masks=False)
    example.boxes[0] = 3.25, 2.5, 17.75, 13.5
    np.testing.assert_array_equal(flip(example, 1).boxes, [[42.25, 2.5, 56.75, 13.5]])
    np.testing.assert_array_equal(flip(example, 0).boxes, [[3.25, 26.5, 17.75, 37.5]])


def test_left_and_right_change_places_and_unlabelled_points_stay_zero():
    example = painted()
    flipped = flip(example, 1, [(0, 1)])
    assert flipped.keypoints[0].tolist() == [[60 - 17.5, 13.5, 1], [60 - 3.5, 2.5, 2], [0, 0, 0]]


def test_twice_is_nothing():
    again = flip(flip(painted(), 1), 1)
    np.testing.assert_array_equal(again.image, painted().image)
    np.testing.assert_array_equal(again.keypoints, painted().keypoints)
    np.testing.assert_array_equal(again.full_masks(), painted().full_masks())


@pytest.mark.parametrize("transform, axis", [(HorizontalFlip, 1), (VerticalFlip, 0)])
def test_probability(transform, axis):
    example, rng = painted(), np.random.default_rng(0)
    assert transform(0.0)(example, rng) is example
    expected = np.flip(example.image, axis)
    np.testing.assert_array_equal(transform(1.0)(example, rng).image, expected)
    number = sum(transform(0.5)(example, rng) is not example for _ in range(200))
    assert 70 < number < 130
