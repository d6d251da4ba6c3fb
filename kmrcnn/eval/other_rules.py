"""Further benchmarks' figures for detections that were scored by COCO's rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kmrcnn.eval.cityscapes import evaluate_cityscapes, instance_map_of
from kmrcnn.eval.coco_evaluator import PREFIXES, CocoEvaluator
from kmrcnn.eval.lvis import evaluate_lvis
from kmrcnn.eval.pairing import SHAPES
from kmrcnn.eval.voc import evaluate_voc

if TYPE_CHECKING:
    from kmrcnn.data.records import AnnotatedImages


def voc_metrics(
    evaluator: CocoEvaluator, dataset: AnnotatedImages | None = None
) -> dict[str, float]:
    """VOC's mean AP at IoU 0.5: ``box_ap50`` (area under the curve), ``box_ap50_11_point``, ..."""
    metrics = {}
    for kind in _kinds_with_shapes(evaluator):
        for rule, name in (("area", "ap50"), ("11_point", "ap50_11_point")):
            scores = evaluate_voc(evaluator.ground_truth, evaluator.results, kind=kind, rule=rule)
            metrics[f"{PREFIXES[kind]}_{name}"] = scores.mean
    return metrics


def lvis_metrics(
    evaluator: CocoEvaluator, dataset: AnnotatedImages | None = None
) -> dict[str, float]:
    """LVIS's figures: ``box_ap``, ``mask_ap_rare``, ...; needs the ground truth of an LVIS file."""
    metrics = {}
    for kind in _kinds_with_shapes(evaluator):
        scores = evaluate_lvis(evaluator.ground_truth, evaluator.results, kind=kind)
        metrics |= {f"{PREFIXES[kind]}_{name}": value for name, value in scores.items()}
    return metrics


def cityscapes_metrics(
    evaluator: CocoEvaluator, dataset: AnnotatedImages | None = None
) -> dict[str, float]:
    """Cityscapes' ``mask_ap`` and ``mask_ap50`` against the instance maps beside the pictures.

    Raises:
        ValueError: Masks were not scored, or `dataset` is not Cityscapes.
    """
    if dataset is None or "segm" not in evaluator.kinds:
        raise ValueError("Cityscapes' rules need masks, and its dataset for the instance maps.")
    truth = evaluator.ground_truth
    maps = {
        record.image_id: instance_map_of(record.path)
        for record in dataset.records
        if record.image_id in truth.image_numbers
    }
    scores = evaluate_cityscapes(truth, evaluator.results, maps).summarize()
    return {f"mask_{name}": value for name, value in scores.items()}


OTHER_RULES: dict[str, Callable[..., dict[str, float]]] = {
    "voc": voc_metrics,
    "lvis": lvis_metrics,
    "cityscapes": cityscapes_metrics,
}


def _kinds_with_shapes(evaluator: CocoEvaluator) -> list[str]:
    return [kind for kind in evaluator.kinds if kind in SHAPES]
