"""A model on a dataset: predict every picture, score what was found."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmrcnn.data.example import Example
from kmrcnn.eval.coco_engines import Engine
from kmrcnn.eval.coco_evaluator import ClassScores, CocoEvaluator
from kmrcnn.eval.ground_truth import GroundTruth
from kmrcnn.eval.report import class_table, metrics_table

if TYPE_CHECKING:
    from kmrcnn.data.records import AnnotatedImages
    from kmrcnn.predictor import Predictor


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """What a model achieved on a dataset; ``print(result)`` shows it as tables.

    Attributes:
        metrics: As of `CocoEvaluator.summarize`.
        per_class: AP of each class.
        evaluator: Holds ground truth and detections, for plots and other metrics.
        num_images: Pictures evaluated.
        num_detections: Detections scored.
        seconds: Time the predictions took, reading the pictures included.
    """

    metrics: dict[str, float]
    per_class: list[ClassScores]
    evaluator: CocoEvaluator
    num_images: int
    num_detections: int
    seconds: float

    @classmethod
    def of(cls, evaluator: CocoEvaluator, seconds: float = 0.0) -> EvaluationResult:
        """Scores what an evaluator has collected."""
        return cls(
            metrics=evaluator.summarize(),
            per_class=evaluator.per_class(),
            evaluator=evaluator,
            num_images=len(evaluator.ground_truth.images),
            num_detections=len(evaluator.results),
            seconds=seconds,
        )

    def __str__(self) -> str:
        num_objects = sum(line.num_objects for line in self.per_class)
        counts = (
            f"{self.num_images} images, {num_objects} objects, {self.num_detections} detections"
        )
        if self.seconds:
            counts += f", {self.num_images / self.seconds:.2f} images/s"
        return "\n\n".join([counts, metrics_table(self.metrics), class_table(self.per_class)])

    def write_results(self, path: str | Path) -> Path:
        """Writes the detections as a COCO result file."""
        return self.evaluator.write_results(path)


def evaluate(
    model_or_predictor: Any,
    dataset: Sequence[Example] | AnnotatedImages,
    *,
    kinds: Sequence[str] | None = None,
    limit: int | None = None,
    progress: bool = True,
    ground_truth: GroundTruth | Mapping | str | Path | None = None,
    engine: Engine = "auto",
    max_detections: int = 100,
    common_classes: bool = False,
) -> EvaluationResult:
    """Predicts the pictures of a dataset and scores the detections by COCO's rules.

    Args:
        model_or_predictor: A kmrcnn model, all of whose detections count, or a `Predictor`, whose
            score threshold then applies: a high one lowers AP.
        dataset: Annotated pictures with `class_names` (or `classes`).
        kinds: Of "bbox", "segm", "keypoints"; None: all that model and dataset both have. (Other
            keypoints than COCO's 17 need `keypoint.sigmas` of the model's configuration.)
        limit: Only the first so many pictures.
        progress: Show a bar.
        ground_truth: Scores against this in place of the dataset's own annotations, such as the
            COCO file itself, with the records that a loader skips.
        engine: See `CocoEvaluator`, as for the rest.
        max_detections: Per image and class; the model's own limit applies before.
        common_classes: Score only the classes that model and dataset share.

    Raises:
        ValueError: The dataset is empty, the classes of model and dataset differ, or a picture
            cannot be read.

    Example:
        >>> result = evaluate(model, open_dataset("val.json", "images"))
        >>> result.metrics["mask_ap50"]
    """
    predictor = _predictor(model_or_predictor)
    count = len(dataset) if limit is None else min(limit, len(dataset))
    if count < 1:
        raise ValueError(
            f"There is nothing to evaluate. Received: {len(dataset)} pictures, limit={limit}"
        )
    truth = _ground_truth(dataset, ground_truth, count)
    evaluator = CocoEvaluator(
        truth or _empty_truth(dataset),
        kinds or _shared_kinds(predictor, dataset, truth),
        engine,
        max_detections,
        common_classes,
        predictor.config.keypoint and predictor.config.keypoint.sigmas,
    )
    evaluator.expect_classes(predictor.config.class_names, predictor.config.num_classes)
    seconds = _predict_all(predictor, dataset, count, evaluator, truth is None, progress)
    return EvaluationResult.of(evaluator, seconds)


def _predictor(model_or_predictor: Any) -> Predictor:
    import keras

    if not isinstance(model_or_predictor, keras.Model):
        return model_or_predictor
    from kmrcnn.predictor import Predictor

    return Predictor(model_or_predictor, score_threshold=0.0)


def _ground_truth(dataset: Any, given: Any, count: int) -> GroundTruth | None:
    """Of the first `count` pictures; None for datasets whose pictures must be made first."""
    if not hasattr(dataset, "records"):
        return None if given is None else GroundTruth.of(given)
    if given is not None:
        names = [record.image_id for record in dataset.records[:count]]
        return GroundTruth.of(given).subset(names)
    return GroundTruth.of(dataset.subset(range(count)) if count < len(dataset) else dataset)


def _empty_truth(dataset: Any) -> GroundTruth:
    names = getattr(dataset, "class_names", None) or getattr(dataset, "classes", None)
    if not names:
        raise ValueError("`dataset` must have `class_names`, the names of its classes in order.")
    return GroundTruth(
        names, getattr(dataset, "category_ids", None), getattr(dataset, "keypoint_names", ())
    )


def _shared_kinds(predictor: Any, dataset: Any, truth: GroundTruth | None) -> tuple[str, ...]:
    if truth is not None:
        annotated = truth.kinds()
    else:
        first = dataset[0]
        has = {"bbox": first.boxes, "segm": first.masks, "keypoints": first.keypoints}
        annotated = tuple(kind for kind, value in has.items() if value is not None)
    keypoint = predictor.config.keypoint
    able = {
        "bbox": True,
        "segm": predictor.config.mask is not None,
        "keypoints": keypoint is not None and keypoint.is_scorable,
    }
    return tuple(kind for kind in annotated if able[kind])


def _predict_all(
    predictor: Any,
    dataset: Sequence[Example],
    count: int,
    evaluator: CocoEvaluator,
    add_truth: bool,
    progress: bool,
) -> float:
    """Predicts batch by batch, masks are encoded before the next batch; returns the seconds."""
    from tqdm import tqdm

    start = time.perf_counter()
    with tqdm(
        total=count, desc="evaluate", unit="image", disable=not progress, file=sys.stderr
    ) as bar:
        for examples in _batches(dataset, count, getattr(predictor, "batch_size", 1)):
            found = predictor.predict([example.image for example in examples])
            for example, detections in zip(examples, found):
                if add_truth:
                    evaluator.ground_truth.add_example(example)
                evaluator.add(example.image_id, detections)
            bar.update(len(examples))
    return time.perf_counter() - start


def _batches(dataset: Sequence[Example], count: int, size: int) -> Iterator[list[Example]]:
    for start in range(0, count, size):
        yield [dataset[index] for index in range(start, min(start + size, count))]
