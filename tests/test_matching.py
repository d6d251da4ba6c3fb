"""Counting hits and false alarms, and the reference outlines of the coins photograph."""

from pathlib import Path

import numpy as np

from tests.matching import mask_iou, match_masks

COINS = Path(__file__).parent / "golden" / "coins_reference.npz"


def _square(top, left, side=4, size=(12, 12)):
    mask = np.zeros(size, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_iou_of_shifted_squares():
    ious = mask_iou(np.array([_square(0, 0)]), np.array([_square(0, 2), _square(8, 8)]))
    np.testing.assert_allclose(ious, [[8 / 24, 0]], rtol=1e-6)


def test_each_reference_is_matched_once():
    refs = np.array([_square(0, 0), _square(6, 6)])
    preds = np.array([_square(0, 0), _square(0, 0), _square(7, 7)])
    assert match_masks(preds, refs, iou=0.75) == (1, 2)
    assert match_masks(preds, refs, iou=0.3) == (2, 1)


def test_the_better_prediction_wins():
    refs = np.array([_square(0, 0), _square(0, 1)])
    preds = np.array([_square(0, 1), _square(0, 0)])
    assert match_masks(preds, refs, iou=0.5) == (2, 0)


def test_nothing_predicted_or_nothing_there():
    none, one = np.zeros((0, 12, 12), bool), _square(0, 0)[None]
    assert match_masks(none, one) == (0, 0)
    assert match_masks(one, none) == (0, 1)


def test_coins_reference_holds_24_round_things():
    labels = np.load(COINS)["labels"]
    assert labels.shape == (303, 384) and labels.dtype == np.uint8
    masks = labels == np.arange(1, 25)[:, None, None]
    assert labels.max() == 24
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
        assert 0.7 < mask.sum() / (height * width) < 0.85  # a disc fills pi / 4 of its box
        assert 0.8 < height / width < 1.25
