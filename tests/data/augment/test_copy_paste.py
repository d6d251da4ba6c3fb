"""Objects of another picture pasted in."""

import numpy as np
import pytest

from kmrcnn.data.augment.copy_paste import CopyPaste, paste
from kmrcnn.data.example import Example
from tests.data.augment.painted import LEVEL, painted, painted_masks

BELOW = ((2, 3, 12, 15), (20, 30, 15, 25))


def other(places=((5, 10, 20, 30),), size=(40, 60)):
    """Another example; its objects are painted as number 4 on a white ground."""
    base = painted(places, size)
    image = np.full_like(base.image, 255)
    image[base.full_masks().any(axis=0)] = 4 * LEVEL
    return Example(image, base.boxes, base.classes + 3, base.masks, keypoints=base.keypoints)


def require_agreement(example):
    expected = painted_masks(example.image, example.classes)
    np.testing.assert_array_equal(example.full_masks(), expected)


def test_pasted_objects_lie_on_top():
    result = paste(painted(BELOW), other(), np.array([0]), 0, 0)
    assert not (result.image == 255).any()  # only the object, not its ground
    require_agreement(result)
    assert result.classes.tolist() == [0, 1, 3]
    # rows 5..25 and columns 10..40 are covered now
    np.testing.assert_array_equal(result.boxes, [[3, 2, 18, 14], [30, 20, 55, 35], [10, 5, 40, 25]])
    assert result.area.tolist() == [180 - 9 * 8, 375 - 5 * 10, 600]


def test_boxes_of_cut_objects_shrink_and_others_stay():
    example = painted(BELOW)
    example.boxes[0] += (-0.5, 0, 0.5, 0)
    result = paste(example, other(((0, 25, 40, 15),)), np.array([0]), 0, 0)
    np.testing.assert_array_equal(result.boxes[0], [2.5, 2, 18.5, 14])  # untouched
    np.testing.assert_array_equal(result.boxes[1], [40, 20, 55, 35])


@pytest.mark.parametrize("left_over, stays", [(9, False), (10, True)])
def test_objects_with_hardly_a_pixel_left_are_dropped(left_over, stays):
    # 20 columns, one row; the pasted object leaves the first `left_over`
    example = painted(((10, 10, 1, 20),))
    result = paste(example, other(((5, 10 + left_over, 20, 30),)), np.array([0]), 0, 0)
    assert result.classes.tolist() == ([0, 3] if stays else [3])


def test_small_objects_that_nothing_covers_stay():
    result = paste(painted(((30, 50, 2, 2),)), other(), np.array([0]), 0, 0)
    assert result.classes.tolist() == [0, 3]


def test_shift_moves_and_cuts_what_is_pasted():
    result = paste(painted(BELOW), other(), np.array([0]), 25, -15)
    require_agreement(result)
    np.testing.assert_array_equal(result.boxes[-1], [0, 30, 25, 40])
    assert result.keypoints[-1].tolist() == [[0, 0, 0]] * 3
    gone = paste(painted(BELOW), other(), np.array([0]), 0, 55)
    np.testing.assert_array_equal(gone.image, painted(BELOW).image)


def test_covered_points_become_hidden():
    result = paste(painted(BELOW), other(((0, 0, 6, 6),)), np.array([0]), 0, 0)
    assert result.keypoints[:, 0, 2].tolist() == [1, 2, 2]


def test_negatives_take_and_give():
    empty = painted(())
    assert paste(empty, other(), np.array([0]), 0, 0).classes.tolist() == [3]
    example = painted()
    assert CopyPaste(lambda rng: empty)(example, np.random.default_rng(0)) is example


def test_random_pastes_agree_with_the_picture():
    rng, pasted = np.random.default_rng(0), 0
    for size in ((40, 60), (30, 90), (70, 20)):
        transform = CopyPaste(lambda _, size=size: other(((5, 3, 20, 12),), size))
        for _ in range(20):
            result = transform(painted(BELOW), rng)
            require_agreement(result)
            assert result.size == (40, 60) and result.image_id == "painted"
            pasted += 3 in result.classes
    assert 15 < pasted < 45


def test_crowds_are_not_pasted():
    crowd = other()
    crowd.is_crowd[:] = True
    example = painted()
    for seed in range(5):
        assert CopyPaste(lambda _: crowd)(example, np.random.default_rng(seed)) is example


def test_masks_are_required():
    with pytest.raises(ValueError, match="'painted' has none"):
        paste(painted(masks=False), other(), np.array([0]), 0, 0)
    with pytest.raises(ValueError, match="key points in both"):
        paste(painted(keypoints=False), other(), np.array([0]), 0, 0)
