"""VOC AP worked out by hand."""

import numpy as np
import pytest

from kmrcnn.eval.ground_truth import GroundTruth
from kmrcnn.eval.voc import area_under_curve, eleven_point_mean, evaluate_voc
from tests.eval.coco_case import coco, results

LEFT, RIGHT, NOWHERE = (0, 0, 20, 20), (40, 0, 60, 20), (0, 30, 20, 50)


def mean_ap(truth, found, **options):
    return evaluate_voc(GroundTruth.of(truth), found, **options).mean


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize(
    "rule, expected",
    [
        ("area", 1 / 2 + 1 / 2 * 2 / 3),  # precision 1 up to recall 1/2, then 2/3
        ("11_point", (6 * 1 + 5 * 2 / 3) / 11),  # recalls 0..0.5, then 0.6..1
    ],
)
def test_right_wrong_right(kind, rule, expected):
    truth = coco((1, 1, LEFT), (1, 1, RIGHT))
    found = results((1, 1, LEFT, 0.9), (1, 1, NOWHERE, 0.8), (1, 1, RIGHT, 0.7))
    assert mean_ap(truth, found, kind=kind, rule=rule) == pytest.approx(expected)


def test_difficult_objects_are_neither_missed_nor_false():
    truth = coco((1, 1, LEFT), (1, 1, RIGHT, {"iscrowd": 1}))
    found = results((1, 1, RIGHT, 0.9), (1, 1, RIGHT, 0.8), (1, 1, LEFT, 0.7))
    assert mean_ap(truth, found) == pytest.approx(1.0)
    assert mean_ap(truth, results((1, 1, LEFT, 0.7))) == pytest.approx(1.0)


def test_a_taken_object_makes_the_next_detection_false_whatever_else_it_touches():
    """COCO would let the second detection have the free object, which it overlaps by half."""
    truth = coco((1, 1, (0, 0, 20, 10)), (1, 1, (0, 0, 20, 20)))
    found = results((1, 1, (0, 0, 20, 11), 0.9), (1, 1, (0, 0, 20, 12), 0.8))
    assert mean_ap(truth, found) == pytest.approx(0.5)


def test_classes_without_objects_do_not_count():
    scores = evaluate_voc(GroundTruth.of(coco((1, 1, LEFT))), results((1, 2, LEFT, 0.9)))
    assert scores.mean == 0.0 and np.isnan(scores.per_class["dog"])
    assert np.isnan(mean_ap(coco(), []))


@pytest.mark.parametrize("iou, expected", [(0.5, 1.0), (0.51, 0.0)])
def test_the_threshold_itself_is_enough(iou, expected):
    found = results((1, 1, (0, 0, 20, 10), 0.9))
    assert mean_ap(coco((1, 1, LEFT)), found, iou=iou) == pytest.approx(expected)


def test_no_detections():
    empty = np.zeros(0)
    assert area_under_curve(empty, empty) == 0.0 and eleven_point_mean(empty, empty) == 0.0
    assert mean_ap(coco((1, 1, LEFT)), []) == 0.0


def test_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="rule"):
        mean_ap(coco((1, 1, LEFT)), [], rule="7_point")
