"""Box and mask AP of the model and of the artefact on the same annotated pictures."""

from __future__ import annotations

from typing import Any

from kmrcnn.config.schema import ModelConfig
from kmrcnn.eval.coco_evaluator import CocoEvaluator
from kmrcnn.eval.ground_truth import GroundTruth
from kmrcnn.structures.detections import Detections

METRICS = ("box_ap", "box_ap50", "mask_ap", "mask_ap50")


class AveragePrecisions:
    """Two evaluators, side by side.

    Args:
        dataset: An `AnnotatedImages`.
        config: Of the model.

    Raises:
        ValueError: The classes of model and dataset differ.
    """

    def __init__(self, dataset: Any, config: ModelConfig):
        truth = GroundTruth.of(dataset)
        able = ("bbox",) if config.mask is None else ("bbox", "segm")
        kinds = [kind for kind in truth.kinds() if kind in able]
        self._evaluators = {side: CocoEvaluator(truth, kinds) for side in ("keras", "artefact")}
        for evaluator in self._evaluators.values():
            evaluator.expect_classes(config.class_names, config.num_classes)

    def add(self, image_id: int | str, reference: Detections, found: Detections) -> None:
        """Takes the detections of one picture of the dataset."""
        self._evaluators["keras"].add(image_id, reference)
        self._evaluators["artefact"].add(image_id, found)

    def figures(self) -> dict[str, dict[str, float]]:
        """{"box_ap": {"keras": ..., "artefact": ..., "delta": ...}, ...}, in [0, 1]."""
        sides = {side: evaluator.summarize() for side, evaluator in self._evaluators.items()}
        figures = {}
        for name in METRICS:
            if name in sides["keras"]:
                values = {side: metrics[name] for side, metrics in sides.items()}
                figures[name] = values | {"delta": values["artefact"] - values["keras"]}
        return figures
