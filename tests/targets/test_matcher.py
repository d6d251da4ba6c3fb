"""Matcher against torchvision and Detectron2, and its rules one by one."""

import json

import numpy as np
import pytest

from kmrcnn.targets.matcher import match


def run(iou, *settings, valid=None):
    iou = np.asarray(iou, "float32")
    valid = np.ones(len(iou), bool) if valid is None else np.array(valid)
    matches = match(iou[None], valid[None], *settings)
    return [np.asarray(value)[0] for value in matches]


@pytest.mark.parametrize("settings", ["rpn", "box", "cas3"])
@pytest.mark.parametrize("number", range(5))
def test_equals_the_references(cases_dir, number, settings):
    arrays = np.load(cases_dir / "matcher.npz")
    high, low, force = json.loads((cases_dir / "matcher.json").read_text())["settings"][settings]
    index, foreground, background = run(arrays[f"iou{number}"], high, low, force)
    label = np.where(foreground, 1, np.where(background, 0, -1))
    np.testing.assert_array_equal(label, arrays[f"d2_{number}_{settings}_label"])
    np.testing.assert_array_equal(index, arrays[f"d2_{number}_{settings}_idx"])
    torchvision = np.where(foreground, index, np.where(background, -1, -2))
    np.testing.assert_array_equal(torchvision, arrays[f"tv{number}_{settings}"])


@pytest.mark.parametrize(
    "overlap, foreground, background",
    [(0.7, True, False), (0.6999, False, False), (0.3, False, False), (0.2999, False, True)],
)
def test_thresholds(overlap, foreground, background):
    assert [bool(v[0]) for v in run([[overlap]], 0.7, 0.3)[1:]] == [foreground, background]


def test_force_best_takes_every_tie_and_keeps_the_best_ground_truth():
    iou = [[0.2, 0.2, 0.1, 0.0], [0.25, 0.0, 0.1, 0.6]]
    index, foreground, background = run(iou, 0.7, 0.3, True)
    assert foreground.tolist() == [True, True, False, True]
    assert background.tolist() == [False, False, True, False]
    assert index[[0, 1, 3]].tolist() == [1, 0, 1]
    assert not run(iou, 0.7, 0.3)[1].any()


@pytest.mark.parametrize("force", [False, True])
def test_empty_slots_match_nothing(force):
    iou = [[0.9, 0.1, 0.8], [0.1, 0.2, 0.75]]
    index, foreground, background = run(iou, 0.7, 0.3, force, valid=[False, True])
    assert foreground.tolist() == [False, False, True] and (index == 1).all()
    _, foreground, background = run(iou, 0.7, 0.3, force, valid=[False, False])
    assert not foreground.any() and background.all()
