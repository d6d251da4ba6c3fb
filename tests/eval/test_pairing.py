"""COCO's greedy matching."""

import numpy as np
import pytest

from kmrcnn.eval.pairing import greedy_match, overlaps, pair_up
from tests.eval.coco_case import coco, results

NONE = np.zeros(2, bool)


@pytest.mark.parametrize(
    "ious, ignored, expected",
    [
        ([[0.9, 0.6], [0.8, 0.7]], NONE, [0, 1]),  # the second takes what is left
        ([[0.9, 0.3], [0.8, 0.4]], NONE, [0, -1]),
        ([[0.7, 0.7]], NONE, [1]),  # the last of equals
        ([[0.9, 0.6]], np.array([True, False]), [1]),  # objects that count come first
        ([[0.9, 0.4]], np.array([True, False]), [0]),
        ([[0.5, 0.0]], NONE, [0]),  # the threshold itself is enough
    ],
)
def test_each_detection_takes_its_best_free_object(ious, ignored, expected):
    assert greedy_match(np.array(ious), ignored, [0.5])[0].tolist() == expected


def test_thresholds_are_matched_on_their_own():
    matches = greedy_match(np.array([[0.6, 0.55], [0.9, 0.0]]), NONE, [0.5, 0.58, 0.7])
    assert matches.tolist() == [[0, -1], [0, -1], [-1, 0]]


@pytest.mark.parametrize("shape", [(0, 2), (2, 0), (0, 0)])
def test_empty_sides_match_nothing(shape):
    matches = greedy_match(np.zeros(shape), np.zeros(shape[1], bool), [0.5, 0.75])
    assert matches.shape == (2, shape[0]) and (matches == -1).all()


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_pairs_are_of_one_category_and_image(kind):
    truth = coco((1, 1, (0, 0, 10, 10)), (2, 1, (0, 0, 10, 10)), images=(1, 2))["annotations"]
    found = results(
        (2, 1, (0, 0, 5, 10), 0.3), (2, 1, (0, 0, 10, 10), 0.8), (1, 2, (0, 0, 9, 9), 1)
    )
    pairs = pair_up(truth, found)
    assert [pair.image_id for pair in pairs[1]] == [1, 2]
    assert [result["score"] for result in pairs[1][1].results] == [0.8, 0.3]
    assert overlaps(pairs[1][0], kind).shape == (0, 1)
    np.testing.assert_allclose(overlaps(pairs[1][1], kind), [[1.0], [0.5]])
    assert len(pairs[2]) == 1 and not pairs[2][0].annotations
