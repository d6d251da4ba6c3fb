"""Which classes a model takes for which, what it misses and what it invents."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from kmrcnn.eval.ground_truth import GroundTruth
from kmrcnn.eval.pairing import SHAPES, Pair, greedy_match, overlaps


def confusion_matrix(
    ground_truth: GroundTruth,
    results: Iterable[Mapping[str, Any]],
    *,
    kind: str = "bbox",
    iou: float = 0.5,
    score_threshold: float = 0.5,
) -> np.ndarray:
    """Counts objects by their class and the class of the detection that covers them.

    Detections, best first, take the free object they overlap most, whatever its class. One that
    takes none counts as invented, unless it lies mostly in a crowd.

    Args:
        ground_truth: The objects.
        results: COCO result entries, as in `CocoEvaluator.results`.
        kind: "bbox" or "segm".
        iou: Least overlap of a detection with its object.
        score_threshold: Detections below do not count.

    Returns:
        (K + 1, K + 1) int64: rows are the true classes, columns the found ones, in the order of
        the ground truth's classes. The last row counts invented objects, the last column missed
        ones.
    """
    if kind not in SHAPES:
        raise ValueError(f"`kind` must be one of {list(SHAPES)}. Received: {kind!r}")
    position = {number: index for index, number in enumerate(ground_truth.category_ids)}
    nothing = len(position)
    matrix = np.zeros((nothing + 1, nothing + 1), np.int64)
    kept = [
        result
        for result in results
        if result["score"] >= score_threshold and result["category_id"] in position
    ]
    for pair, crowds in _by_image(ground_truth.annotations_for(kind), kept):
        taken = greedy_match(overlaps(pair, kind), np.zeros(len(pair.annotations), bool), [iou])[0]
        in_crowd = _lies_in(pair, crowds, kind, iou)
        for result, target, is_excused in zip(pair.results, taken.tolist(), in_crowd):
            found = position[result["category_id"]]
            if target >= 0:
                matrix[position[pair.annotations[target]["category_id"]], found] += 1
            elif not is_excused:
                matrix[nothing, found] += 1
        for target, annotation in enumerate(pair.annotations):
            if target not in taken:
                matrix[position[annotation["category_id"]], nothing] += 1
    return matrix


def _by_image(
    annotations: Iterable[dict[str, Any]], results: Iterable[dict[str, Any]]
) -> list[tuple[Pair, list[dict[str, Any]]]]:
    """Of each image: its objects beside its detections (best first), and its crowds."""
    pairs: dict[int, Pair] = {}
    crowds: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for annotation in annotations:
        pair = pairs.setdefault(annotation["image_id"], Pair(annotation["image_id"]))
        group = crowds[annotation["image_id"]] if annotation["iscrowd"] else pair.annotations
        group.append(annotation)
    for result in sorted(results, key=lambda result: -result["score"]):
        pairs.setdefault(result["image_id"], Pair(result["image_id"])).results.append(result)
    return [(pair, crowds[number]) for number, pair in sorted(pairs.items())]


def _lies_in(pair: Pair, crowds: list[dict[str, Any]], kind: str, share: float) -> np.ndarray:
    """(D,) bool: detections of which at least `share` lies in a crowd."""
    if not crowds or not pair.results:
        return np.zeros(len(pair.results), bool)
    found = [result[SHAPES[kind]] for result in pair.results]
    regions = [crowd[SHAPES[kind]] for crowd in crowds]
    return (coco_mask.iou(found, regions, [1] * len(regions)) >= share).any(axis=1)
