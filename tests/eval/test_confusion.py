"""The confusion matrix of pictures one can see at a glance."""

import pytest

from kmrcnn.eval.confusion import confusion_matrix
from kmrcnn.eval.ground_truth import GroundTruth
from tests.eval.coco_case import coco, results

LEFT, RIGHT, NOWHERE = (0, 0, 20, 20), (40, 0, 60, 20), (0, 30, 20, 50)
CROWD = {"iscrowd": 1}


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize(
    "objects, found, expected",
    [
        ([(1, 1, LEFT)], [(1, 1, LEFT, 0.9)], [[1, 0, 0], [0, 0, 0], [0, 0, 0]]),
        ([(1, 1, LEFT)], [(1, 2, LEFT, 0.9)], [[0, 1, 0], [0, 0, 0], [0, 0, 0]]),
        ([(1, 1, LEFT)], [], [[0, 0, 1], [0, 0, 0], [0, 0, 0]]),
        ([], [(1, 2, LEFT, 0.9)], [[0, 0, 0], [0, 0, 0], [0, 1, 0]]),
        ([(1, 1, LEFT)], [(1, 1, LEFT, 0.4)], [[0, 0, 1], [0, 0, 0], [0, 0, 0]]),
        ([(1, 1, LEFT)], [(1, 1, NOWHERE, 0.9)], [[0, 0, 1], [0, 0, 0], [1, 0, 0]]),
        (  # the better score has the object
            [(1, 1, LEFT)],
            [(1, 2, LEFT, 0.8), (1, 1, LEFT, 0.9)],
            [[1, 0, 0], [0, 0, 0], [0, 1, 0]],
        ),
        ([(1, 1, (0, 0, 60, 60), CROWD)], [(1, 2, LEFT, 0.9)], [[0] * 3] * 3),
        ([(1, 1, LEFT)], [(2, 1, LEFT, 0.9)], [[0, 0, 1], [0, 0, 0], [1, 0, 0]]),
    ],
)
def test_rows_are_true_columns_found(kind, objects, found, expected):
    truth = GroundTruth.of(coco(*objects, images=(1, 2)))
    assert confusion_matrix(truth, results(*found), kind=kind).tolist() == expected


def test_thresholds_can_be_chosen():
    truth = GroundTruth.of(coco((1, 1, LEFT)))
    found = results((1, 1, (0, 0, 20, 12), 0.3))  # IoU 0.6
    assert confusion_matrix(truth, found, score_threshold=0.3)[0, 0] == 1
    assert confusion_matrix(truth, found, score_threshold=0.3, iou=0.7)[0, 2] == 1


def test_keypoints_are_refused():
    with pytest.raises(ValueError, match="kind"):
        confusion_matrix(GroundTruth.of(coco()), [], kind="keypoints")
