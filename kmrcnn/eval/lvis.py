"""LVIS's average precision (Gupta et al. 2019): many categories, each annotated in a part of the
images only.

An image is judged for the categories that it shows (some object is annotated) or that were looked
for in vain (`neg_category_ids`); detections of others do not count. Where the annotation of a
category is not exhaustive (`not_exhaustive_category_ids`), a detection that matches nothing is no
error. The package `lvis` does not run with NumPy 2; the rules here are its rules.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from kmrcnn.eval.coco_engines import MatchTable
from kmrcnn.eval.ground_truth import GroundTruth
from kmrcnn.eval.pairing import SHAPES, Pair, greedy_match, overlaps, pair_up

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_THRESHOLDS = np.linspace(0.0, 1.0, 101)
MAX_DETECTIONS = 300  # per image, all categories together
AREAS = {  # square pixels
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
FREQUENCIES = {"r": "rare", "c": "common", "f": "frequent"}  # up to 10, 100, more training images


def evaluate_lvis(
    ground_truth: GroundTruth, results: Iterable[Mapping[str, Any]], *, kind: str = "segm"
) -> dict[str, float]:
    """Scores detections by LVIS's rules.

    Args:
        ground_truth: Of an LVIS file (`GroundTruth.of(path)`): its images carry the categories
            looked for in vain and not exhaustively annotated, its categories their `frequency`.
        results: COCO result entries, as in `CocoEvaluator.results`.
        kind: "segm" or "bbox".

    Returns:
        ``ap``, ``ap50``, ``ap75``, ``ap_small``, ``_medium``, ``_large``, ``ap_rare``,
        ``ap_common``, ``ap_frequent`` and ``ar300`` in [0, 1]; nan where nothing of the sort is
        annotated.

    Raises:
        ValueError: The ground truth does not say where categories were looked for.
    """
    if kind not in SHAPES:
        raise ValueError(f"`kind` must be one of {list(SHAPES)}. Received: {kind!r}")
    if not all("neg_category_ids" in image for image in ground_truth.images):
        raise ValueError("LVIS's rules need `neg_category_ids` of every image: give an LVIS file.")
    table = match_federated(ground_truth, results, kind)
    metrics = {
        "ap": table.average_precision(),
        "ap50": table.average_precision(0.5),
        "ap75": table.average_precision(0.75),
    }
    metrics |= {f"ap_{area}": table.average_precision(area=area) for area in table.areas[1:]}
    for letter, name in FREQUENCIES.items():
        metrics[f"ap_{name}"] = _group_mean(table, ground_truth, letter)
    metrics[f"ar{MAX_DETECTIONS}"] = table.average_recall()
    return metrics


def match_federated(
    ground_truth: GroundTruth, results: Iterable[Mapping[str, Any]], kind: str
) -> MatchTable:
    """Precision and recall of every category on the images that were searched for it."""
    annotations = ground_truth.annotations_for(kind)
    images = {image["id"]: image for image in ground_truth.images}
    counted = _judged_results(_best_of_each_image(results), annotations, images)
    pairs = pair_up(annotations, counted)
    shape = (len(IOU_THRESHOLDS), len(ground_truth.category_ids), len(AREAS))
    precision = np.full((shape[0], len(RECALL_THRESHOLDS), *shape[1:]), -1.0)
    scores = np.full(precision.shape, -1.0)
    recall = np.full((*shape, 1), -1.0)
    for column, category_id in enumerate(ground_truth.category_ids):
        evaluated = [
            (pair, overlaps(pair, kind), _tolerated(pair, images[pair.image_id], category_id))
            for pair in pairs.get(category_id, [])
        ]
        for row, limits in enumerate(AREAS.values()):
            curve = _curve([_judge(*entry, kind, limits) for entry in evaluated])
            if curve is not None:
                precision[..., column, row], scores[..., column, row], recall[:, column, row, 0] = (
                    curve
                )
    return MatchTable(
        precision=precision,
        scores=scores,
        recall=recall,
        iou_thresholds=IOU_THRESHOLDS,
        recall_thresholds=RECALL_THRESHOLDS,
        category_ids=ground_truth.category_ids,
        areas=tuple(AREAS),
        max_detections=(MAX_DETECTIONS,),
    )


def _best_of_each_image(results: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    by_image: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for result in results:
        by_image[result["image_id"]].append(result)
    kept = []
    for found in by_image.values():
        kept += sorted(found, key=lambda result: -result["score"])[:MAX_DETECTIONS]
    return kept


def _judged_results(
    results: Iterable[Mapping[str, Any]],
    annotations: Iterable[Mapping[str, Any]],
    images: Mapping[int, Mapping[str, Any]],
) -> list[Mapping[str, Any]]:
    """The detections of categories that their image was searched for."""
    searched = {number: set(image["neg_category_ids"]) for number, image in images.items()}
    for annotation in annotations:
        searched[annotation["image_id"]].add(annotation["category_id"])
    return [result for result in results if result["category_id"] in searched[result["image_id"]]]


def _tolerated(pair: Pair, image: Mapping[str, Any], category_id: int) -> bool:
    return category_id in image.get("not_exhaustive_category_ids", ())


def _judge(
    pair: Pair, ious: np.ndarray, is_tolerated: bool, kind: str, limits: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """One image: scores (D,), is true (T, D), is ignored (T, D), number of objects that count."""
    low, high = limits
    is_ignored = np.array(
        [one["iscrowd"] or not low <= one["area"] <= high for one in pair.annotations], bool
    )
    matches = greedy_match(ious, is_ignored, IOU_THRESHOLDS)  # (T, D)
    is_matched = matches >= 0
    on_ignored = is_matched & np.append(is_ignored, False)[matches]
    areas = np.array([_area(result, kind) for result in pair.results])
    is_excused = (areas < low) | (areas > high) | is_tolerated
    ignored = on_ignored | (~is_matched & is_excused)
    scores = np.array([result["score"] for result in pair.results])
    return scores, is_matched & ~ignored, ignored, int((~is_ignored).sum())


def _area(result: Mapping[str, Any], kind: str) -> float:
    if kind == "segm":
        return float(coco_mask.area(result["segmentation"]))
    return result["bbox"][2] * result["bbox"][3]


def _curve(
    judged: list[tuple[np.ndarray, np.ndarray, np.ndarray, int]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Precision (T, R), scores (T, R) and recall (T,); None where there is nothing to find."""
    num_objects = sum(number for *_, number in judged)
    if num_objects == 0:
        return None
    scores = np.concatenate([scores for scores, *_ in judged])
    order = np.argsort(-scores, kind="stable")
    is_true = np.concatenate([true for _, true, *_ in judged], axis=1)[:, order]  # (T, D)
    is_ignored = np.concatenate([ignored for *_, ignored, _ in judged], axis=1)[:, order]
    true = np.cumsum(is_true, axis=1)
    false = np.cumsum(~is_true & ~is_ignored, axis=1)
    recalls = true / num_objects
    precisions = true / np.maximum(true + false, 1)
    envelope = np.maximum.accumulate(precisions[:, ::-1], axis=1)[:, ::-1]
    sampled = np.zeros((len(is_true), len(RECALL_THRESHOLDS)))
    reached = np.zeros_like(sampled)
    for row, recall in enumerate(recalls):
        at = np.searchsorted(recall, RECALL_THRESHOLDS, side="left")
        inside = at < recall.size
        sampled[row, inside] = envelope[row, at[inside]]
        reached[row, inside] = scores[order][at[inside]]
    return sampled, reached, recalls.max(axis=1, initial=0.0)


def _group_mean(table: MatchTable, ground_truth: GroundTruth, letter: str) -> float:
    members = [category.get("frequency") == letter for category in ground_truth.categories]
    values = table.precision[:, :, members, 0]
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else float("nan")
