"""Detections beside the annotations they may match: same category, same image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

SHAPES = {"bbox": "bbox", "segm": "segmentation"}  # field of the entries that holds the shape


@dataclass
class Pair:
    """What one image holds and what was found there, of one category."""

    image_id: int
    annotations: list[dict[str, Any]] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)


def pair_up(
    annotations: Iterable[dict[str, Any]], results: Iterable[dict[str, Any]]
) -> dict[int, list[Pair]]:
    """Groups COCO entries by category, then by image in ascending order; results best first."""
    grouped: dict[int, dict[int, Pair]] = defaultdict(dict)

    def pair_of(entry: dict[str, Any]) -> Pair:
        image_id = entry["image_id"]
        return grouped[entry["category_id"]].setdefault(image_id, Pair(image_id))

    for annotation in annotations:
        pair_of(annotation).annotations.append(annotation)
    for result in sorted(results, key=lambda result: -result["score"]):
        pair_of(result).results.append(result)
    return {number: [pairs[i] for i in sorted(pairs)] for number, pairs in grouped.items()}


def overlaps(pair: Pair, kind: str) -> np.ndarray:
    """IoU (D, G) float64 of the results with the annotations.

    Args:
        pair: D results and G annotations.
        kind: "bbox" or "segm" (masks as run lengths).
    """
    if not pair.results or not pair.annotations:
        return np.zeros((len(pair.results), len(pair.annotations)))
    found = [result[SHAPES[kind]] for result in pair.results]
    truth = [annotation[SHAPES[kind]] for annotation in pair.annotations]
    return np.asarray(coco_mask.iou(found, truth, [0] * len(truth)))


def greedy_match(
    ious: np.ndarray, is_ignored: np.ndarray, thresholds: Sequence[float]
) -> np.ndarray:
    """COCO's matching: each detection, best first, takes the free object it overlaps most.

    An object to ignore is taken only if no other object qualifies.

    Args:
        ious: (D, G), detections in descending order of score.
        is_ignored: (G,) bool.
        thresholds: (T,) least IoU of a match.

    Returns:
        (T, D) int: the object that each detection takes, -1 for none.
    """
    num_detections, num_objects = ious.shape
    limits = np.minimum(thresholds, 1 - 1e-10)[:, None]  # (T, 1); COCO's, 1.0 allows for rounding
    matches = np.full((len(limits), num_detections), -1)
    is_free = np.ones((len(limits), num_objects), bool)
    if num_objects == 0:
        return matches
    for detection, row in enumerate(ious):
        fits = is_free & (row >= limits)  # (T, G)
        if not fits.any():
            continue
        fits_regular = fits & ~is_ignored
        pool = np.where(fits_regular.any(axis=1, keepdims=True), fits_regular, fits)
        values = np.where(pool, row, -1.0)
        best = num_objects - 1 - values[:, ::-1].argmax(axis=1)  # (T,); the last of equals, as COCO
        at = np.flatnonzero(pool.any(axis=1))
        matches[at, detection] = best[at]
        is_free[at, best[at]] = False
    return matches
