"""Cityscapes' average precision of instance masks (Cordts et al. 2016), by the rules of its
evaluation script.

Unlike COCO's: masks smaller than 100 pixels, groups ("cargroup") and void are regions to ignore,
judged by the share of a detection that lies in them; of several detections that cover an object
well the best counts as true; precision is integrated over all recalls without interpolation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kmrcnn.data.datasets.cityscapes import THINGS
from kmrcnn.eval.ground_truth import GroundTruth
from kmrcnn.structures.detections import Detections
from kmrcnn.structures.masks import rle_to_mask

VOID_LABELS = (0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30)  # not evaluated
OVERLAPS = np.arange(0.5, 1.0, 0.05)  # must be exceeded
MIN_PIXELS = 100  # of an object that counts


@dataclass(frozen=True, eq=False)
class _ImageClass:
    """One class in one image: G annotated regions, D detections."""

    region_pixels: np.ndarray  # (G,)
    is_group: np.ndarray  # (G,) bool
    scores: np.ndarray  # (D,)
    pixels: np.ndarray  # (D,)
    void_pixels: np.ndarray  # (D,) of the detection on void
    shared_pixels: np.ndarray  # (D, G)


class CityscapesEvaluator:
    """Collects detections image by image and scores their masks.

    Example:
        >>> evaluator = CityscapesEvaluator()
        >>> evaluator.add("aachen_000000_000019_gtFine_instanceIds.png", detections)
        >>> evaluator.summarize()["ap"]
    """

    def __init__(self):
        self._images: list[dict[str, _ImageClass]] = []

    def add(self, instance_ids: np.ndarray | str | Path, detections: Detections) -> None:
        """Takes what was found in one image. Classes that Cityscapes does not evaluate are left
        out; masks without pixels too.

        Args:
            instance_ids: (H, W) integers of a `gtFine_instanceIds.png`, or its path: the label id
                for void and groups, 1000 * label id + number for an object.
            detections: In the pixels of that image, with masks and class names.

        Raises:
            ValueError: Sizes differ, or there are no masks or no class names.
        """
        instance_ids = _read(instance_ids)
        if detections.masks is None or detections.class_names is None:
            raise ValueError("Cityscapes' rules need detections with masks and class names.")
        if instance_ids.shape != tuple(detections.image_size):
            raise ValueError(
                f"`instance_ids` must have the detections' image size {detections.image_size}. "
                f"Received: shape={instance_ids.shape}"
            )
        self._add(instance_ids, detections.masks, detections.scores, detections.names)

    def add_results(
        self,
        instance_ids: np.ndarray | str | Path,
        results: Iterable[Mapping[str, Any]],
        names: Mapping[int, str],
    ) -> None:
        """Takes COCO result entries of one image; decodes its masks one by one.

        Args:
            instance_ids: See `add`.
            results: With masks as run lengths.
            names: Category id -> class name.
        """
        results = list(results)
        self._add(
            _read(instance_ids),
            (rle_to_mask(result["segmentation"]) for result in results),
            [result["score"] for result in results],
            [names[result["category_id"]] for result in results],
        )

    def summarize(self) -> dict[str, float]:
        """``ap`` and ``ap50``, means over the classes, in [0, 1]; nan if no class occurs."""
        values = np.array(list(self.per_class().values()))  # (K, 2)
        defined = values[~np.isnan(values[:, 0])]
        means = defined.mean(axis=0) if len(defined) else (float("nan"), float("nan"))
        return {"ap": float(means[0]), "ap50": float(means[1])}

    def per_class(self) -> dict[str, tuple[float, float]]:
        """(AP, AP50) of every class by name; nan where there are no objects."""
        result = {}
        for name in THINGS:
            images = [image[name] for image in self._images]
            values = [_average_precision(images, overlap) for overlap in OVERLAPS]
            result[name] = (float(np.mean(values)), values[0])
        return result

    def _add(
        self,
        instance_ids: np.ndarray,
        masks: Iterable[np.ndarray],
        scores: Sequence[float],
        names: Sequence[str],
    ) -> None:
        under = [instance_ids[mask] for mask in masks]  # D arrays of ids
        found = [entry for entry in zip(under, scores, names) if entry[0].size]
        self._images.append(
            {
                name: _measure(instance_ids, label, [one[:2] for one in found if one[2] == name])
                for name, label in THINGS.items()
            }
        )


def evaluate_cityscapes(
    ground_truth: GroundTruth,
    results: Iterable[Mapping[str, Any]],
    instance_maps: Mapping[int | str, str | Path],
) -> CityscapesEvaluator:
    """Scores COCO result entries by Cityscapes' rules.

    Args:
        ground_truth: Gives the names of images and classes.
        results: As in `CocoEvaluator.results`.
        instance_maps: Image id -> its `gtFine_instanceIds.png`.
    """
    names = dict(zip(ground_truth.category_ids, ground_truth.class_names))
    by_image = defaultdict(list)
    for result in results:
        by_image[result["image_id"]].append(result)
    evaluator = CityscapesEvaluator()
    for image_id, path in instance_maps.items():
        evaluator.add_results(path, by_image[ground_truth.number_of(image_id)], names)
    return evaluator


def instance_map_of(picture: str | Path) -> Path:
    """``leftImg8bit/val/x/NAME_leftImg8bit.png`` -> ``gtFine/val/x/NAME_gtFine_instanceIds.png``.

    Raises:
        ValueError: The picture does not lie in a folder ``leftImg8bit``.
    """
    picture = Path(picture)
    parts = list(picture.parts[:-1])
    if "leftImg8bit" not in parts:
        raise ValueError(f"{picture} does not lie in Cityscapes' folder leftImg8bit.")
    parts[len(parts) - 1 - parts[::-1].index("leftImg8bit")] = "gtFine"
    return Path(*parts) / f"{picture.stem.removesuffix('_leftImg8bit')}_gtFine_instanceIds.png"


def _read(instance_ids: np.ndarray | str | Path) -> np.ndarray:
    if isinstance(instance_ids, np.ndarray):
        return instance_ids
    with Image.open(instance_ids) as picture:
        return np.array(picture)


def _measure(
    instance_ids: np.ndarray, label: int, found: Sequence[tuple[np.ndarray, float]]
) -> _ImageClass:
    """Counts the pixels that detections of a class share with its regions and with void.

    Args:
        instance_ids: (H, W).
        label: Of the class.
        found: For each of D detections the ids under its mask, and its score.
    """
    ids = np.unique(instance_ids)
    ids = ids[(ids == label) | (ids // 1000 == label)]
    shared = [[np.count_nonzero(under == one) for one in ids] for under, _ in found]
    return _ImageClass(
        region_pixels=np.array([np.count_nonzero(instance_ids == one) for one in ids], int),
        is_group=ids < 1000,
        scores=np.array([score for _, score in found], float),
        pixels=np.array([under.size for under, _ in found], int),
        void_pixels=np.array([np.isin(under, VOID_LABELS).sum() for under, _ in found], int),
        shared_pixels=np.array(shared, int).reshape(len(found), len(ids)),
    )


def _average_precision(images: Sequence[_ImageClass], overlap: float) -> float:
    judged = [_judge(image, overlap) for image in images]
    num_objects = sum(int(_counts(image).sum()) for image in images)
    if num_objects == 0:
        return float("nan")
    scores = np.concatenate([scores for scores, _, _ in judged])
    if not scores.size:
        return 0.0
    is_true = np.concatenate([is_true for _, is_true, _ in judged])
    return _integrate(scores, is_true, missed=sum(missed for *_, missed in judged))


def _counts(image: _ImageClass) -> np.ndarray:
    """(G,) bool: regions that must be found."""
    return ~image.is_group & (image.region_pixels >= MIN_PIXELS)


def _judge(image: _ImageClass, overlap: float) -> tuple[np.ndarray, np.ndarray, int]:
    """Scores and truth of the detections that count, and the number of missed objects."""
    union = image.region_pixels + image.pixels[:, None] - image.shared_pixels  # (D, G)
    covers = image.shared_pixels > overlap * union
    scores: list[float] = []
    is_true: list[bool] = []
    missed = 0
    for region in np.flatnonzero(_counts(image)):
        found = np.sort(image.scores[covers[:, region]])[::-1]
        missed += found.size == 0
        scores += found.tolist()
        is_true += [rank == 0 for rank in range(found.size)]
    is_wrong = ~covers.any(axis=1) & (_ignored_share(image) <= overlap)
    scores += image.scores[is_wrong].tolist()
    is_true += [False] * int(is_wrong.sum())
    return np.array(scores, float), np.array(is_true, bool), missed


def _ignored_share(image: _ImageClass) -> np.ndarray:
    """(D,) share of each detection on void, groups and small regions; small groups count twice, as
    in the script.
    """
    is_small = image.region_pixels < MIN_PIXELS
    weights = image.is_group.astype(int) + is_small  # (G,)
    return (image.void_pixels + image.shared_pixels @ weights) / np.maximum(image.pixels, 1)


def _integrate(scores: np.ndarray, is_true: np.ndarray, missed: int) -> float:
    """Area under precision over recall, one point for each distinct score and one at recall 0."""
    order = np.argsort(scores, kind="stable")
    true_below = np.concatenate([[0], np.cumsum(is_true[order])])  # (D + 1,)
    starts = np.unique(scores[order], return_index=True)[1]  # (P,) ascending score
    true = true_below[-1] - true_below[starts]
    precision = np.append(true / (len(scores) - starts), 1.0)
    num_true = true_below[-1] + missed
    recall = np.append(true / max(num_true, 1), 0.0)  # descending
    padded = np.concatenate([recall[:1], recall, [0.0]])
    return float(precision @ ((padded[:-2] - padded[2:]) / 2))
