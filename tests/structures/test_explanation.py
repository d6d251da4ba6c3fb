"""The record of a picture's way through the model."""

import dataclasses

import numpy as np
import pytest

from kmrcnn.structures.detections import Detections
from kmrcnn.structures.explanation import Explanation


def make(**changes) -> Explanation:
    box = [10.0, 10.0, 40.0, 50.0]
    detections = Detections([box], [0.9], [1], (60, 80), class_names=("cat", "dog"))
    fields = {
        "proposals": np.array([box, [0, 0, 20, 20], [30, 30, 60, 59]]),
        "objectness": np.array([0.9, 0.8, 0.2]),
        "levels": np.array([2, 2, 5]),
        "roi_levels": np.array([2, 2, 3]),
        "boxes": np.array([box, box, [0, 0, 20, 20], [30, 30, 60, 59]]),
        "scores": np.array([0.9, 0.6, 0.3, 0.2]),
        "classes": np.array([1, 1, 0, 0]),
        "proposal_index": np.array([0, 0, 1, 2]),
        "status": np.array(["kept", "nms", "score", "limit"]),
        "suppressed_by": np.array([-1, 0, -1, -1]),
        "num_below_threshold": 2,
        "score_threshold": 0.05,
        "nms_threshold": 0.5,
        "max_detections": 100,
        "detections": detections,
    }
    return Explanation(**{**fields, **changes})


def test_summary_counts_every_stage():
    lines = [line.split() for line in make().summary().splitlines()]
    assert [line[-1] for line in lines[:2]] == ["1", "1"]  # P5, P3
    numbers = {line[0] if line[0] != "-" else line[-1]: line for line in lines}
    assert "3" in numbers["proposals"] and "4" in numbers["candidates"]
    assert "P2 2  P5 1" in make().summary() and "cat 2, dog 2" in make().summary()
    assert "0.05" in make().summary() and "IoU above 0.5" in make().summary()


def test_counts_and_repr():
    explanation = make()
    assert {s: explanation.count(s) for s in ("kept", "nms", "limit", "score")} == {
        "kept": 1,
        "nms": 1,
        "limit": 1,
        "score": 1,
    }
    assert repr(explanation) == "Explanation(3 proposals -> 4 candidates -> 1 detections)"
    assert explanation.image_size == (60, 80)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"objectness": np.zeros(2)}, "`objectness`"),
        ({"boxes": np.zeros((4, 5))}, "`boxes`"),
        ({"status": np.array(["kept", "lost", "nms", "nms"])}, "lost"),
    ],
)
def test_wrong_values_are_rejected(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_nothing_proposed_and_nothing_found():
    explanation = make(
        **{
            field.name: getattr(make(), field.name)[:0]
            for field in dataclasses.fields(Explanation)
            if isinstance(getattr(make(), field.name), np.ndarray)
        },
        detections=Detections.empty((60, 80)),
    )
    assert explanation.summary().splitlines()[0].split()[:2] == ["proposals", "0"]
