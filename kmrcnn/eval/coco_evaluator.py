"""COCO's average precision of boxes, masks and keypoints."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pycocotools import mask as coco_mask

from kmrcnn.data.files import written_aside
from kmrcnn.eval.class_map import match_classes
from kmrcnn.eval.coco_engines import Engine, MatchTable, choose_engine, match
from kmrcnn.eval.ground_truth import GroundTruth
from kmrcnn.structures.detections import Detections

if TYPE_CHECKING:
    from kmrcnn.data.records import AnnotatedImages

PREFIXES = {"bbox": "box", "segm": "mask", "keypoints": "keypoint"}  # of the names of metrics
_FIELDS = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}
_KEYPOINT_DETECTIONS = 20  # per image, COCO's rule
NAN = float("nan")


@dataclass(frozen=True)
class ClassScores:
    """One line of the table of classes.

    Attributes:
        name: Of the class.
        category_id: In the dataset.
        num_objects: Annotated objects, without crowds.
        scores: "box_ap", "box_ap50", "mask_ap", ... in [0, 1]; nan where the class does not occur.
    """

    name: str
    category_id: int
    num_objects: int
    scores: dict[str, float]


class CocoEvaluator:
    """Collects detections image by image and scores them.

    Masks are run-length encoded as they come; no bitmap is kept. Each kind sees its own field only:
    an object's size (AP small, medium, large) is the area of its mask in "segm" and the extent of
    its joints in "keypoints", as COCO's result files and Detectron2 have it.

    Args:
        ground_truth: A dataset, COCO JSON as a dict, or its path. Images without detections count
            as searched in vain.
        kinds: Of "bbox", "segm", "keypoints"; None: all that the ground truth has.
        engine: "pycocotools" is the reference; "faster_coco_eval" gives the same numbers to 1e-9
            several times as fast, and is what "auto" takes where it is installed.
        max_detections: Detections per image and class that count, the best first. COCO's 100 is
            too few for pictures with hundreds of cells.
        common_classes: Accept detections of a model that does not know all classes of the dataset;
            only those it knows are scored.
        keypoint_sigmas: (J,) for objects with other joints than COCO's 17, see `match`.

    Raises:
        ValueError: A kind or the engine is unknown, or the ground truth is broken.
        ImportError: The engine asked for is not installed.

    Example:
        >>> evaluator = CocoEvaluator("instances_val2017.json", kinds=("bbox", "segm"))
        >>> for image_id, path in pictures.items():
        ...     evaluator.add(image_id, predictor.predict(path))
        >>> evaluator.summarize()["mask_ap"]
    """

    def __init__(
        self,
        ground_truth: GroundTruth | AnnotatedImages | Mapping | str | Path,
        kinds: Sequence[str] | None = ("bbox", "segm"),
        engine: Engine = "auto",
        max_detections: int = 100,
        common_classes: bool = False,
        keypoint_sigmas: Sequence[float] | None = None,
    ):
        self.ground_truth = GroundTruth.of(ground_truth)
        self.engine = choose_engine(engine)
        self.kinds = require_kinds(kinds or self.ground_truth.kinds())
        if max_detections < 1:
            raise ValueError(f"`max_detections` must be at least 1. Received: {max_detections}")
        self.max_detections = max_detections
        self.common_classes = common_classes
        self.keypoint_sigmas = keypoint_sigmas
        self.results: list[dict[str, Any]] = []  # COCO's result entries, image ids as numbers
        self._unknown_ids: frozenset[int] = frozenset()  # of classes that the model does not know
        self._class_maps: dict[Any, list[int | None]] = {}  # category ids by class names
        self._tables: dict[str, MatchTable] = {}

    def expect_classes(self, class_names: Sequence[str] | None, num_classes: int) -> None:
        """Checks a model's classes before hours of work.

        Args:
            class_names: Of the model; None matches by number.
            num_classes: Of the model.

        Raises:
            ValueError: The model does not know a class of the ground truth; lists the difference.
        """
        self._map_classes(class_names, num_classes)

    def add(self, image_id: int | str, detections: Detections) -> None:
        """Takes what was found in one image.

        Args:
            image_id: As in the ground truth.
            detections: In the pixels of that image. Classes are matched by name; without names by
                number.

        Raises:
            ValueError: The image is unknown or of another size, the classes do not match, or masks
                or keypoints are to be scored and there are none.
        """
        number = self.ground_truth.number_of(image_id)
        size = self.ground_truth.size_of(number)
        if size is not None and tuple(size) != tuple(detections.image_size):
            raise ValueError(
                f"The detections of image {image_id!r} are for {detections.image_size} (height, "
                f"width), the ground truth for {tuple(size)}."
            )
        if "segm" in self.kinds and detections.masks is None and len(detections):
            raise ValueError("These detections have no masks: leave 'segm' out of `kinds`.")
        if "keypoints" in self.kinds and detections.keypoints is None and len(detections):
            raise ValueError("These detections have no keypoints: leave them out of `kinds`.")
        category_ids = self._category_ids(detections)
        for result, class_index in zip(detections.to_coco(number), detections.classes.tolist()):
            if category_ids[class_index] is not None:
                self._append({**result, "category_id": category_ids[class_index]})

    def add_results(self, results: Iterable[Mapping[str, Any]]) -> None:
        """Takes entries of a COCO result file; category ids are those of the ground truth.

        Raises:
            ValueError: An image is unknown, or what is to be scored is missing.
        """
        for result in results:
            missing = {"image_id", "category_id", "score"} - set(result)
            if missing:
                raise ValueError(f"A COCO result must have {sorted(missing)}. Received: {result}")
            number = self.ground_truth.number_of(result["image_id"])
            self._append({**result, "image_id": number})

    def summarize(self) -> dict[str, float]:
        """All metrics by name, in [0, 1]; nan where the ground truth has no such object.

        Returns:
            ``box_ap`` (mean over IoU 0.5 to 0.95), ``box_ap50``, ``box_ap75``, ``box_ap_small``
            (below 32 x 32 pixels), ``_medium``, ``_large`` (from 96 x 96), ``box_ar1``,
            ``box_ar10``, ``box_ar100``, ``box_ar_small``, ...; and so for ``mask_`` and
            ``keypoint_``, where similarity of keypoints takes the place of IoU.
        """
        metrics: dict[str, float] = {}
        for kind in self.kinds:
            metrics |= _metrics(PREFIXES[kind], self.match_table(kind))
        return metrics

    def per_class(self) -> list[ClassScores]:
        """AP and AP50 of every class, in the order of the ground truth's classes."""
        annotations = self.ground_truth.annotations
        counts = Counter(one["category_id"] for one in annotations if not one["iscrowd"])
        return [
            ClassScores(name, number, counts[number], self._class_scores(number))
            for number, name in zip(self.ground_truth.category_ids, self.ground_truth.class_names)
        ]

    def match_table(self, kind: str) -> MatchTable:
        """Precision and recall of one kind for the detections so far; computed when asked for."""
        if kind not in self._tables:
            self._tables[kind] = self._match(kind)
        return self._tables[kind]

    def results_for_file(self) -> list[dict[str, Any]]:
        """COCO's result entries with the source's own image ids."""
        names = {number: name for name, number in self.ground_truth.image_numbers.items()}
        return [{**result, "image_id": names[result["image_id"]]} for result in self.results]

    def write_results(self, path: str | Path) -> Path:
        """Writes a COCO result file; replaces it if it exists."""
        path = Path(path)
        with written_aside(path) as aside:
            aside.write_text(json.dumps(self.results_for_file()), encoding="utf-8")
        return path

    def _append(self, result: dict[str, Any]) -> None:
        if "bbox" not in result and "segmentation" in result:
            result["bbox"] = coco_mask.toBbox(result["segmentation"]).tolist()
        for kind in self.kinds:
            if _FIELDS[kind] not in result:
                raise ValueError(
                    f"To score {kind!r} a detection needs {_FIELDS[kind]!r}. "
                    f"Received: {sorted(result)}"
                )
        if not np.isfinite(result["score"]):
            raise ValueError(f"A score must be finite. Received: {result['score']}")
        self._require_mask_size(result)
        self._tables.clear()
        self.results.append(result)

    def _require_mask_size(self, result: Mapping[str, Any]) -> None:
        size = self.ground_truth.size_of(result["image_id"])
        mask = result.get("segmentation")
        if mask is not None and size is not None and tuple(mask["size"]) != tuple(size):
            raise ValueError(
                f"A mask of image {result['image_id']} is for {tuple(mask['size'])} (height, "
                f"width), the image has {tuple(size)}."
            )

    def _category_ids(self, detections: Detections) -> list[int | None]:
        """The dataset's category id of each class of the model; None for others."""
        ids = self._map_classes(detections.class_names)
        if len(detections) and detections.classes.max() >= len(ids):
            raise ValueError(
                f"The ground truth has {len(ids)} classes. "
                f"Received a detection of class {detections.classes.max()}"
            )
        return ids

    def _map_classes(
        self, class_names: Sequence[str] | None, num_classes: int | None = None
    ) -> list[int | None]:
        if class_names not in self._class_maps:
            truth = self.ground_truth
            classes = match_classes(
                class_names, truth.class_names, num_classes, common_only=self.common_classes
            )
            ids = [None if index is None else truth.category_ids[index] for index in classes]
            self._class_maps[class_names] = ids
            self._unknown_ids = frozenset(truth.category_ids) - frozenset(ids)
            self._tables.clear()
        return self._class_maps[class_names]

    def _class_scores(self, category_id: int) -> dict[str, float]:
        scores = {}
        for kind in self.kinds:
            table = self.match_table(kind)
            for suffix, iou in (("ap", None), ("ap50", 0.5)):
                is_scored = category_id in table.category_ids
                value = table.average_precision(iou, category_id=category_id) if is_scored else NAN
                scores[f"{PREFIXES[kind]}_{suffix}"] = value
        return scores

    def _match(self, kind: str) -> MatchTable:
        categories = self._scored_categories(kind)
        ids = {category["id"] for category in categories}
        annotations = self.ground_truth.annotations_for(kind)
        return match(
            self.ground_truth.images,
            categories,
            [one for one in annotations if one["category_id"] in ids],
            [_stripped(result, kind) for result in self.results if result["category_id"] in ids],
            kind,
            engine=self.engine,
            max_detections=self._limits(kind),
            keypoint_sigmas=self.keypoint_sigmas,
        )

    def _scored_categories(self, kind: str) -> list[dict[str, Any]]:
        truth = self.ground_truth
        known = [one for one in truth.categories if one["id"] not in self._unknown_ids]
        if kind != "keypoints":
            return known
        with_joints = {a["category_id"] for a in truth.annotations if a.get("num_keypoints")}
        return [one for one in known if one.get("keypoints") or one["id"] in with_joints]

    def _limits(self, kind: str) -> list[int]:
        """Numbers of detections per image for which the recall is wanted."""
        if kind == "keypoints":
            return [_KEYPOINT_DETECTIONS]
        return [limit for limit in (1, 10) if limit < self.max_detections] + [self.max_detections]


def require_kinds(kinds: Sequence[str]) -> tuple[str, ...]:
    """The kinds as a tuple.

    Raises:
        ValueError: There are none, or one is unknown.
    """
    unknown = [kind for kind in kinds if kind not in PREFIXES]
    if isinstance(kinds, str) or unknown or not kinds:
        raise ValueError(f"`kinds` must be of {list(PREFIXES)}. Received: {kinds!r}")
    return tuple(kinds)


def _metrics(prefix: str, table: MatchTable) -> dict[str, float]:
    sizes = [area for area in table.areas if area != "all"]
    metrics = {
        f"{prefix}_ap": table.average_precision(),
        f"{prefix}_ap50": table.average_precision(0.5),
        f"{prefix}_ap75": table.average_precision(0.75),
    }
    metrics |= {f"{prefix}_ap_{size}": table.average_precision(area=size) for size in sizes}
    if prefix == PREFIXES["keypoints"]:
        metrics[f"{prefix}_ar"] = table.average_recall()
        metrics[f"{prefix}_ar50"] = table.average_recall(0.5)
        metrics[f"{prefix}_ar75"] = table.average_recall(0.75)
    else:
        for limit in table.max_detections:
            metrics[f"{prefix}_ar{limit}"] = table.average_recall(max_detections=limit)
    return metrics | {f"{prefix}_ar_{size}": table.average_recall(area=size) for size in sizes}


def _stripped(result: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """A copy with the field of this kind only: the engines take an object's size from it."""
    fields = ("image_id", "category_id", "score", _FIELDS[kind])
    return {field: result[field] for field in fields}
