"""Figures of hand-made detections."""

import dataclasses
import math

import numpy as np
import pytest

from kmrcnn.export.comparison import Comparison, pair_up
from kmrcnn.export.tolerances import TOLERANCES
from kmrcnn.structures.detections import Detections

STRICT, WIDE = TOLERANCES["float32"], TOLERANCES["int8"]
BOXES = [[10, 10, 30, 30], [12, 10, 32, 30], [50, 40, 90, 80]]
SCORES = [0.9, 0.8, 0.7]


def detections(boxes=BOXES, scores=SCORES, classes=(0, 0, 1), **fields):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    masks = np.zeros((len(boxes), 100, 120), bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.astype(int)):
        mask[y1:y2, x1:x2] = True
    values = {"boxes": boxes, "scores": scores, "classes": classes, "masks": masks}
    return Detections(image_size=(100, 120), **(values | fields))


def compared(reference, found, tolerance=STRICT, floor=0.1, **options) -> Comparison:
    comparison = Comparison(tolerance, floor)
    comparison.add(reference, found, **options)
    return comparison


def test_pairs_are_of_one_class_and_the_best_overlap():
    found = detections([[50, 40, 90, 80], [12, 10, 32, 30], [10, 10, 30, 30]], classes=(1, 0, 0))
    assert sorted(map(tuple, pair_up(detections(), found).tolist())) == [(0, 2), (1, 1), (2, 0)]
    assert pair_up(detections(), detections(classes=(1, 1, 0))).tolist() == []
    assert pair_up(detections(), detections([], [], [])).shape == (0, 2)
    empty = detections([[5, 5, 5, 9]], [0.5], [0])
    assert pair_up(empty, empty).tolist() == []  # a box without area overlaps nothing


def test_differences_of_boxes_and_scores():
    moved = np.array(BOXES, np.float32)
    moved[0, 0] += 0.25
    moved[2, 3] -= 2.0
    result = compared(detections(), detections(moved, [0.9, 0.75, 0.71]))
    assert result.box_difference() == pytest.approx(2.0)
    assert result.box_difference(2 / 3) == pytest.approx(0.25)
    assert result.box_difference(1 / 3) == 0.0
    assert result.score_difference() == pytest.approx(0.05)
    assert [failure.split(":")[0] for failure in result.failures()] == [
        "box difference, px",
        "score difference",
        "equal mask pixels",
    ]


def test_the_share_leaves_out_the_worst():
    boxes = np.array([[20 * i, 10, 20 * i + 15, 30] for i in range(5)], np.float32)
    fields = {"scores": [0.9] * 5, "classes": [0] * 5}
    moved = boxes.copy()
    moved[4, 0] -= 4.0
    wide = dataclasses.replace(WIDE, share=0.8, box_px=1.0, mask_pixels=0.5)
    pair = detections(boxes, **fields), detections(moved, **fields)
    assert compared(*pair, wide).failures() == []
    narrow = dataclasses.replace(wide, share=0.81)
    assert [f.split(":")[0] for f in compared(*pair, narrow).failures()] == ["box difference, px"]


def test_mask_pixels_count_inside_the_boxes():
    found = detections()
    masks = found.masks.copy()
    masks[2, 40:80, 50:70] = False  # half of 40 x 40 pixels; the others have 2 * 20 x 20
    result = compared(detections(), detections(masks=masks))
    assert result.mask_pixels == pytest.approx(1 - 800 / 2400)
    assert compared(detections(), detections(masks=None)).mask_pixels == 0.0
    assert math.isnan(compared(detections(masks=None), detections()).mask_pixels)


def test_keypoints_may_be_a_cell_apart():
    points = np.zeros((3, 2, 3), np.float32)
    near, far = points.copy(), points.copy()
    near[2, 0, 0] = 40 / 56 - 0.01
    far[2, 0, 1] = 40 / 56 + 0.01
    reference = detections(keypoints=points)
    assert compared(reference, detections(keypoints=near)).keypoints == 1.0
    result = compared(reference, detections(keypoints=far))
    assert result.keypoints == pytest.approx(5 / 6)
    assert [f.split(":")[0] for f in result.failures()] == ["equal keypoints"]
    assert compared(reference, detections()).keypoints == 0.0


def test_missing_and_extra_count_from_the_floor_on():
    found = detections(BOXES[1:] + [[90, 5, 110, 25]], [0.8, 0.7, 0.6], (0, 1, 1))
    result = compared(detections(), found)
    assert (result.missing, result.extra, result.num_reference) == (1, 1, 3)
    assert result.matched == pytest.approx(2 / 4)
    result = compared(detections(), found, floor=0.65)
    assert (result.missing, result.extra) == (1, 0)
    assert compared(detections(), found, floor=0.75).num_reference == 2


def test_a_partner_below_the_floor_is_a_partner():
    result = compared(detections(), detections(scores=[0.9, 0.8, 0.699]), floor=0.7 - 1e-7)
    assert (result.missing, result.extra) == (0, 0)
    assert result.score_difference() == pytest.approx(0.001, rel=1e-3)


@pytest.mark.parametrize("is_full, missing", [(False, 1), (True, 0)])
def test_the_end_of_a_full_list_may_differ(is_full, missing):
    found = detections(BOXES[:2], SCORES[:2], (0, 0))
    result = compared(detections(), found, is_full=is_full)
    assert result.missing == missing
    result = compared(detections(), detections(BOXES[1:], SCORES[1:], (0, 1)), is_full=is_full)
    assert result.missing == 1  # the first is not at the end


def test_pictures_add_up():
    result = compared(detections(), detections())
    result.add(detections(), detections(BOXES[:2], SCORES[:2], (0, 0)))
    result.add(detections([], [], []), detections([], [], []))
    figures = result.to_dict()
    assert (figures["pictures"], figures["detections"], figures["missing"]) == (3, 6, 1)
    assert figures["matched"] == pytest.approx(5 / 6)


def test_nothing_to_compare_fails():
    result = compared(detections([], [], []), detections([], [], []))
    assert len(result.failures()) == 1 and math.isnan(result.box_difference())
    invented = compared(detections([], [], []), detections())
    assert invented.failures()[0].startswith("matched detections: 0")
