"""COCO's matching, run by pycocotools (the reference) or by faster-coco-eval (C++, the same
numbers).
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Engine = Literal["auto", "faster_coco_eval", "pycocotools"]
ENGINES = ("auto", "faster_coco_eval", "pycocotools")


@dataclass(frozen=True, eq=False)
class MatchTable:
    """Precision and recall per IoU threshold, category, range of object areas.

    -1 marks what is not defined because the ground truth has no such object.

    Attributes:
        precision: (T, R, K, A): the best precision at recall R or above.
        scores: (T, R, K, A): the score that reaches this recall.
        recall: (T, K, A, M): the recall reached with M detections an image.
        iou_thresholds: (T,); for keypoints, of the object keypoint similarity.
        recall_thresholds: (R,).
        category_ids: (K,).
        areas: Names of the A ranges; the first is "all".
        max_detections: The M limits; the last holds for `precision`.
    """

    precision: np.ndarray
    scores: np.ndarray
    recall: np.ndarray
    iou_thresholds: np.ndarray
    recall_thresholds: np.ndarray
    category_ids: tuple[int, ...]
    areas: tuple[str, ...]
    max_detections: tuple[int, ...]

    def average_precision(
        self, iou: float | None = None, area: str = "all", category_id: int | None = None
    ) -> float:
        """AP in [0, 1]; nan where the ground truth has no such object.

        Args:
            iou: One of `iou_thresholds`; None is the mean over all of them.
            area: One of `areas`.
            category_id: One of `category_ids`; None is the mean over all that occur.
        """
        values = self.precision[..., self.areas.index(area)]  # (T, R, K)
        values = values[self._threshold(iou)][:, :, self._category(category_id)]
        return _mean_defined(values)

    def average_recall(
        self, iou: float | None = None, area: str = "all", max_detections: int | None = None
    ) -> float:
        """AR in [0, 1]; arguments as for `average_precision`.

        Args:
            iou: As there.
            area: As there.
            max_detections: One of `max_detections`; None is the largest.
        """
        limits = self.max_detections
        limit = len(limits) - 1 if max_detections is None else limits.index(max_detections)
        return _mean_defined(self.recall[self._threshold(iou)][:, :, self.areas.index(area), limit])

    def _threshold(self, iou: float | None) -> Any:
        return slice(None) if iou is None else np.isclose(self.iou_thresholds, iou)

    def _category(self, category_id: int | None) -> Any:
        return slice(None) if category_id is None else [self.category_ids.index(category_id)]


def choose_engine(engine: Engine) -> str:
    """Resolves "auto": faster-coco-eval where it is installed, else pycocotools.

    Raises:
        ValueError: There is no such engine.
        ImportError: faster-coco-eval is asked for and not installed.
    """
    if engine not in ENGINES:
        raise ValueError(f"`engine` must be one of {list(ENGINES)}. Received: {engine!r}")
    is_installed = importlib.util.find_spec("faster_coco_eval") is not None
    if engine == "faster_coco_eval" and not is_installed:
        raise ImportError("This needs faster-coco-eval: pip install faster-coco-eval")
    if engine == "auto":
        return "faster_coco_eval" if is_installed else "pycocotools"
    return engine


def match(
    images: Sequence[dict[str, Any]],
    categories: Sequence[dict[str, Any]],
    annotations: Sequence[dict[str, Any]],
    results: Sequence[dict[str, Any]],
    kind: str,
    engine: Engine = "auto",
    max_detections: Sequence[int] = (1, 10, 100),
    keypoint_sigmas: Sequence[float] | None = None,
) -> MatchTable:
    """Matches detections with annotations, each image and category on its own.

    The engines write into `annotations` and `results`: pass copies.

    Args:
        images: COCO's image entries.
        categories: COCO's category entries; others are not scored.
        annotations: COCO's annotation entries, as of `GroundTruth.annotations_for`.
        results: COCO's result entries, with the field of this kind only.
        kind: "bbox", "segm" or "keypoints".
        engine: Who computes.
        max_detections: Detections an image and category that count, best first; ascending.
        keypoint_sigmas: (J,) tolerance of each keypoint relative to the object's size; None: those
            of COCO's 17.
    """
    truth = {
        "info": {},
        "images": list(images),
        "categories": list(categories),
        "annotations": list(annotations),
    }
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        if choose_engine(engine) == "pycocotools":
            evaluation = _pycocotools(truth, list(results), kind, keypoint_sigmas)
        else:
            evaluation = _faster_coco_eval(truth, list(results), kind, keypoint_sigmas)
        params = evaluation.params
        params.catIds = sorted(category["id"] for category in categories)
        params.maxDets = list(max_detections)
        evaluation.evaluate()
        evaluation.accumulate()
    table = evaluation.eval
    return MatchTable(
        precision=np.asarray(table["precision"])[..., -1],
        scores=np.asarray(table["scores"])[..., -1],
        recall=np.asarray(table["recall"]),
        iou_thresholds=np.asarray(params.iouThrs),
        recall_thresholds=np.asarray(params.recThrs),
        category_ids=tuple(int(number) for number in params.catIds),
        areas=tuple(params.areaRngLbl),
        max_detections=tuple(max_detections),
    )


def _pycocotools(
    truth: dict[str, Any], results: list[dict[str, Any]], kind: str, sigmas: Sequence[float] | None
) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    coco = COCO()
    coco.dataset = truth
    coco.createIndex()
    if results:
        found = coco.loadRes(results)
    else:  # loadRes looks at the first
        found = COCO()
        found.dataset = {**truth, "annotations": []}
        found.createIndex()
    evaluation = COCOeval(coco, found, kind)
    if sigmas is not None:
        evaluation.params.kpt_oks_sigmas = np.asarray(sigmas, float)
    return evaluation


def _faster_coco_eval(
    truth: dict[str, Any], results: list[dict[str, Any]], kind: str, sigmas: Sequence[float] | None
) -> Any:
    from faster_coco_eval import COCO, COCOeval_faster

    coco = COCO(truth)
    sigmas = None if sigmas is None else [float(sigma) for sigma in sigmas]
    return COCOeval_faster(coco, coco.loadRes(results), kind, kpt_oks_sigmas=sigmas)


def _mean_defined(values: np.ndarray) -> float:
    """Mean of what is defined (not -1); nan where nothing is."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else float("nan")
