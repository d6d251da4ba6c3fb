"""Cells of keypoints, by hand and against both references."""

import numpy as np
import pytest

from kmrcnn.targets.keypoint_targets import keypoint_targets

BOX = np.float32([[10, 20, 30, 60]])  # cells of 5 x 10 pixels


def cells_of(*points, boxes=BOX):
    keypoints = np.float32(points).reshape(1, 1, -1, 3)
    index = np.zeros(len(boxes), "int32")
    found = keypoint_targets(keypoints, boxes, index, index, 4)
    return np.asarray(found.cells).tolist(), np.asarray(found.valid).tolist()


def test_cells_by_hand():
    cells, valid = cells_of((10, 20, 2), (14.9, 30, 1), (29, 59, 2), (30, 60, 2))
    assert cells == [[0, 4, 15, 15]]  # the far corner is the last cell's
    assert valid == [[True] * 4]


@pytest.mark.parametrize("point", [(9.9, 30, 2), (12, 60.1, 2), (12, 30, 0)])
def test_points_outside_or_not_labelled_do_not_count(point):
    assert cells_of(point) == ([[0]], [[False]])


def test_box_without_area_has_no_points_inside():
    assert cells_of((12, 22, 2), boxes=np.float32([[10, 20, 10, 20]]))[1] == [[False]]


def test_matched_object_of_the_right_picture():
    keypoints = np.zeros((2, 2, 1, 3), "float32")
    keypoints[1, 1, 0] = 22, 41, 1
    boxes = np.repeat(BOX, 3, axis=0)
    found = keypoint_targets(keypoints, boxes, np.int32([0, 1, 1]), np.int32([1, 0, 1]), 4)
    assert np.asarray(found.valid)[:, 0].tolist() == [False, False, True]
    assert int(found.cells[2, 0]) == 2 * 4 + 2


def test_no_rois():
    none = np.zeros(0, "int32")
    keypoints = np.zeros((1, 2, 3, 3), "float32")
    found = keypoint_targets(keypoints, np.zeros((0, 4), "float32"), none, none, 4)
    assert found.cells.shape == found.valid.shape == (0, 3)


@pytest.mark.parametrize("source", ["tv", "d2"])
def test_reference_case(cases_dir, source):
    case = np.load(cases_dir / "keypoints.npz")
    number = len(case["rois"])
    index = np.arange(number, dtype="int32")
    found = keypoint_targets(
        case["keypoints"][None], case["rois"], np.zeros(number, "int32"), index, 56
    )
    valid = case[f"{source}_valid"].astype(bool)
    np.testing.assert_array_equal(found.valid, valid)
    np.testing.assert_array_equal(np.asarray(found.cells)[valid], case[f"{source}_target"][valid])
