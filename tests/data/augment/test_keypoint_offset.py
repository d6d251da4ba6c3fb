"""The step from annotated numbers to coordinates."""

import numpy as np

from kmrcnn.data.augment.keypoint_offset import KeypointOffset
from tests.data.augment.painted import painted


def test_labelled_points_move_and_the_others_stay():
    example = painted()
    moved = KeypointOffset(0.5)(example).keypoints
    np.testing.assert_array_equal(moved[:, :2, :2], example.keypoints[:, :2, :2] + 0.5)
    np.testing.assert_array_equal(moved[..., 2], example.keypoints[..., 2])
    assert not moved[:, 2].any() and moved.dtype == np.float32


def test_nothing_to_move():
    example, without = painted(), painted(keypoints=False)
    assert KeypointOffset(0.0)(example) is example
    assert KeypointOffset(0.5)(without) is without
