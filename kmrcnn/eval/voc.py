"""Pascal VOC's average precision (Everingham et al. 2010), by the rules of its development kit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from kmrcnn.eval.ground_truth import GroundTruth
from kmrcnn.eval.pairing import Pair, overlaps, pair_up

Rule = Literal["area", "11_point"]


@dataclass(frozen=True)
class VocScores:
    """Result of `evaluate_voc`.

    Attributes:
        mean: Mean AP of the classes that occur, in [0, 1]; nan if none does.
        per_class: AP of every class by name; nan for classes without objects.
    """

    mean: float
    per_class: dict[str, float]


def evaluate_voc(
    ground_truth: GroundTruth,
    results: Iterable[Mapping[str, Any]],
    *,
    kind: str = "bbox",
    iou: float = 0.5,
    rule: Rule = "area",
) -> VocScores:
    """Scores detections by VOC's rules.

    They differ from COCO's: a detection is compared with the one object that it overlaps most, free
    or not, so that a second detection of an object is false; difficult objects (crowds here) are
    ignored; precision is integrated over all recalls.

    Args:
        ground_truth: The objects. VOC's inclusive pixel coordinates must have become continuous
            ones, as `load_voc` makes them.
        results: COCO result entries, as in `CocoEvaluator.results`.
        kind: "bbox"; or "segm" for masks.
        iou: Least overlap of a detection with its object.
        rule: "area" under the curve (VOC 2010 and later), or the mean of the precision at the
            recalls 0, 0.1, ... 1 (VOC 2007).
    """
    if rule not in ("area", "11_point"):
        raise ValueError(f"`rule` must be 'area' or '11_point'. Received: {rule!r}")
    pairs = pair_up(ground_truth.annotations_for(kind), results)
    classes = zip(ground_truth.category_ids, ground_truth.class_names)
    per_class = {name: _class_ap(pairs.get(i, []), kind, iou, rule) for i, name in classes}
    defined = [value for value in per_class.values() if not np.isnan(value)]
    return VocScores(float(np.mean(defined)) if defined else float("nan"), per_class)


def area_under_curve(recall: np.ndarray, precision: np.ndarray) -> float:
    """Area under the curve after each precision is raised to the best at a higher recall.

    Args:
        recall: (D,) ascending.
        precision: (D,).
    """
    recall = np.concatenate([[0.0], recall, [1.0]])
    precision = np.concatenate([[0.0], precision, [0.0]])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall) * envelope[1:]).sum())


def eleven_point_mean(recall: np.ndarray, precision: np.ndarray) -> float:
    """Mean over the recalls 0, 0.1, ... 1 of the best precision at this recall or a higher one."""
    points = np.arange(11) / 10
    best = [precision[recall >= point].max(initial=0.0) for point in points]
    return float(np.mean(best))


def _class_ap(pairs: list[Pair], kind: str, iou: float, rule: Rule) -> float:
    num_objects = sum(not one["iscrowd"] for pair in pairs for one in pair.annotations)
    if num_objects == 0:
        return float("nan")
    judged = [entry for pair in pairs for entry in _judge(pair, kind, iou)]
    judged.sort(key=lambda entry: -entry[0])  # stable
    is_true = np.array([is_true for _, is_true in judged], bool)
    true, false = np.cumsum(is_true), np.cumsum(~is_true)
    recall, precision = true / num_objects, true / np.maximum(true + false, 1)
    if rule == "11_point":
        return eleven_point_mean(recall, precision)
    return area_under_curve(recall, precision)


def _judge(pair: Pair, kind: str, iou: float) -> list[tuple[float, bool]]:
    """(score, is true) of each detection of an image that counts."""
    judged = []
    taken: set[int] = set()
    for result, row in zip(pair.results, overlaps(pair, kind)):
        best = int(row.argmax()) if row.size else -1
        if best < 0 or row[best] < iou:
            judged.append((result["score"], False))
        elif not pair.annotations[best]["iscrowd"]:
            judged.append((result["score"], best not in taken))
            taken.add(best)
    return judged
