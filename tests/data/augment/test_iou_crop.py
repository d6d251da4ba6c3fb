"""Windows that overlap an object well."""

import numpy as np
import pytest

from kmrcnn.data.augment.iou_crop import IoUCrop
from tests.data.augment.painted import painted, require_agreement


@pytest.mark.parametrize("least", [0.0, 0.3, 0.5])
def test_an_object_is_kept_and_overlaps_well(least):
    rng, changed = np.random.default_rng(0), 0
    places = ((2, 3, 30, 40), (20, 50, 15, 8))
    for _ in range(50):
        cropped = IoUCrop(least_ious=(least,))(painted(places), rng)
        require_agreement(cropped)
        height, width = cropped.size
        if (height, width) == (40, 60):
            continue
        changed += 1
        assert 0.5 <= height / width <= 2 and len(cropped.boxes) >= 1
        # the window's overlap with an object is at least what is left of it over both together
        best = max(area / (height * width) for area in cropped.area)
        assert best >= least * 0.99
    assert changed > 25


def test_one_leaves_the_picture_whole():
    example = painted()
    assert IoUCrop(least_ious=(1.0,))(example, np.random.default_rng(0)) is example


def test_negatives_and_hopeless_pictures_stay_whole():
    rng = np.random.default_rng(0)
    empty = painted(())
    assert IoUCrop(least_ious=(0.0,))(empty, rng) is empty
    tiny = painted(((2, 3, 1, 1),))
    assert IoUCrop(least_ious=(0.9,), trials=5, rounds=2)(tiny, rng) is tiny
