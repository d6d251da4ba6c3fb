"""Box geometry against torchvision and by hand."""

import numpy as np
import pytest

from kmrcnn.structures import boxes as box_ops


def test_clip_and_small_boxes_equal_torchvision(cases_dir):
    arrays = np.load(cases_dir / "clip_boxes.npz")
    clipped = box_ops.clip(arrays["boxes"][None], np.array([[200, 260]]))[0]
    np.testing.assert_array_equal(clipped, arrays["clipped"])
    for name, size in (("keep_small_1e3", 1e-3), ("keep_small_10", 10)):
        kept = np.flatnonzero(box_ops.sides_at_least(clipped, size))
        np.testing.assert_array_equal(kept, arrays[name])


def test_iou_equals_torchvision(cases_dir):
    arrays = np.load(cases_dir / "nms_iou.npz")
    iou = box_ops.pairwise_iou(arrays["iou_a"], arrays["iou_b"])
    np.testing.assert_allclose(iou, arrays["iou"], atol=1e-6)
    batched = box_ops.pairwise_iou(arrays["iou_a"][None].repeat(2, 0), arrays["iou_b"][None])
    np.testing.assert_array_equal(batched[1], iou)


@pytest.mark.parametrize(
    "a, b, want",
    [
        ([0, 0, 10, 10], [0, 0, 10, 10], 1),
        ([0, 0, 10, 10], [5, 0, 15, 10], 1 / 3),
        ([0, 0, 10, 10], [10, 0, 20, 10], 0),  # they touch
        ([5, 5, 5, 5], [5, 5, 5, 5], 0),  # empty
        ([9, 9, 3, 3], [0, 0, 10, 10], 0),  # inverted
    ],
)
def test_iou_by_hand(a, b, want):
    iou = box_ops.pairwise_iou(np.array([a], "float32"), np.array([b], "float32"))
    np.testing.assert_allclose(iou, [[want]], atol=1e-6)


def test_area_of_inverted_boxes_is_zero():
    boxes = np.array([[1, 2, 4, 6], [4, 2, 1, 6], [4, 6, 1, 2]], "float32")
    assert np.asarray(box_ops.area(boxes)).tolist() == [12, 0, 0]


@pytest.mark.parametrize("extra", [(), (3,)])
def test_clip_uses_the_size_of_each_image(extra):
    boxes = np.broadcast_to(np.array([-5, -5, 99, 99], "float32"), (2, 4, *extra, 4))
    clipped = np.asarray(box_ops.clip(boxes, np.array([[20, 30], [40, 10]])))
    assert clipped.shape == boxes.shape
    assert (clipped[0] == [0, 0, 30, 20]).all() and (clipped[1] == [0, 0, 10, 40]).all()
