"""Examples to targets, and back."""

import dataclasses

import numpy as np
import pytest

from kmrcnn.data.mask_cells import from_cells
from kmrcnn.data.targets import make_targets
from tests.data.augment.painted import painted

SIZE = (40, 60)


def test_shapes_and_types():
    targets = make_targets(painted(), SIZE, 20, 10)
    shapes = [(value.shape, value.dtype.name) for value in targets]
    assert shapes == [
        ((3, 4), "float32"),
        ((3,), "int32"),
        ((3, 20, 20), "uint8"),
        ((3, 4), "float32"),
        ((3, 0, 3), "float32"),
    ]
    empty = make_targets(painted(()), SIZE, 20, 10)
    assert [value.shape for value in empty] == [(0, 4), (0,), (0, 20, 20), (0, 4), (0, 0, 3)]


def test_largest_first_and_smallest_dropped():
    targets = make_targets(painted(), SIZE, 20, 2)  # areas 180, 375, 180
    assert targets.classes.tolist() == [1, 0]
    np.testing.assert_array_equal(targets.boxes, painted().boxes[[1, 0]])


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_masks_and_boxes_scale_with_the_picture(scale):
    network = (SIZE[0] * scale, SIZE[1] * scale)
    targets = make_targets(painted(), network, 100, 10)
    order = targets.classes
    np.testing.assert_array_equal(targets.boxes, painted().boxes[order] * scale)
    for cells, window, mask in zip(
        targets.masks, targets.mask_windows, painted().full_masks()[order]
    ):
        expected = mask.repeat(scale, axis=0).repeat(scale, axis=1)
        back = from_cells(cells, window, network).to_full(network)
        assert (back ^ expected).sum() <= 4  # corners, from a scale of three
        assert scale == 3 or (back == expected).all()


def test_crowds_empty_masks_and_empty_boxes_are_no_targets():
    example = painted(((2, 3, 12, 15), (20, 30, 15, 25), (5, 40, 9, 20), (30, 2, 3, 3)))
    example.is_crowd[0] = True
    example.boxes[1] = 5, 5, 5, 9
    example.masks[2].bitmap[:] = False
    targets = make_targets(example, SIZE, 20, 10)
    assert targets.classes.tolist() == [3]


def test_without_masks():
    example = painted(masks=False)
    targets = make_targets(example, SIZE, None, 10)
    assert targets.masks.shape == (3, 0, 0) and len(targets.boxes) == 3
    with pytest.raises(ValueError, match="'painted' has boxes but no masks"):
        make_targets(example, SIZE, 20, 10)


def test_boxes_are_clipped():
    example = dataclasses.replace(painted(masks=False), boxes=np.float32([[-3, -2, 9, 8]] * 3))
    assert make_targets(example, SIZE, None, 1).boxes.tolist() == [[0, 0, 9, 8]]


@pytest.mark.parametrize("crop_size", [None, 20])
def test_keypoints_scale_with_the_picture_and_stay_with_their_objects(crop_size):
    targets = make_targets(painted(), (SIZE[0] * 2, SIZE[1] * 3), crop_size, 2, 3)
    np.testing.assert_array_equal(targets.keypoints, painted().keypoints[[1, 0]] * [3, 2, 1])


def test_keypoints_must_be_there_and_as_many_as_the_model_has():
    with pytest.raises(ValueError, match="'painted' must have the 17 keypoints.*Received: 3"):
        make_targets(painted(), SIZE, 20, 10, 17)
    with pytest.raises(ValueError, match="Received: none"):
        make_targets(painted(keypoints=False), SIZE, 20, 10, 3)
