"""Detections: what a model found in one picture, as NumPy arrays in the pixels of that picture."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kmrcnn.structures.keypoint_layout import KeypointLayout
from kmrcnn.structures.mask_crop import CroppedMasks, MaskCrop

if TYPE_CHECKING:
    import supervision


class Detection(NamedTuple):
    """One found object, what iterating over `Detections` yields."""

    box: np.ndarray  # (4,) float32 xyxy
    score: float
    class_id: int
    name: str
    category_id: int
    mask: np.ndarray | None  # (H, W) bool
    keypoints: np.ndarray | None = None  # (J, 3) float32 x, y, score


@dataclass(frozen=True, eq=False, repr=False)
class Detections:
    """All objects found in one picture, best score first as models give them.

    Behaves like a sequence: ``len(d)``, ``for one in d``, ``d[0]`` (a `Detection`), and ``d[2:5]``,
    ``d[d.scores > 0.9]``, ``d[[3, 1]]`` (`Detections` again). Not to be changed in place; `filter`
    and indexing give new ones.

    Attributes:
        boxes: (D, 4) float32 xyxy, pixels of the original image, continuous coordinates (pixel i
            covers [i, i + 1)).
        scores: (D,) float32 in [0, 1].
        classes: (D,) int32, 0..K-1.
        image_size: (height, width) of the original image.
        masks: (D, H, W) bool; `CroppedMasks`, which stand for them, of pictures too large for that;
            None for models without masks.
        class_names: Names of all K classes of the model, or None.
        category_ids: The dataset's category id of each of the K classes; None means class + 1.
        source: The file the picture came from, if any.
        keypoints: (D, J, 3) float32, x, y in pixels of the original image and a score, or None for
            models without keypoints.
        keypoint_layout: Names of the J keypoints and more, or None.

    Raises:
        ValueError: Shapes disagree, a box is inverted or not finite, a class has no name, ...

    Example:
        >>> detections = predictor.predict("street.jpg").filter(0.7, classes=["person"])
        >>> for one in detections:
        ...     print(one.name, one.score, one.box)
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    image_size: tuple[int, int]
    masks: np.ndarray | CroppedMasks | None = None
    class_names: tuple[str, ...] | None = None
    category_ids: tuple[int, ...] | None = None
    source: Path | None = None
    keypoints: np.ndarray | None = None
    keypoint_layout: KeypointLayout | None = None

    def __post_init__(self):
        height, width = (int(side) for side in self.image_size)
        boxes = _array("boxes", self.boxes, np.float32, (-1, 4))
        count = len(boxes)
        if not np.isfinite(boxes).all() or (boxes[:, 2:] < boxes[:, :2]).any():
            raise ValueError(
                "`boxes` must be finite with x1 <= x2 and y1 <= y2. Did you pass xywh? "
                f"Received: boxes={_first_bad_box(boxes)} among {count}"
            )
        scores = _array("scores", self.scores, np.float32, (count,))
        if not ((scores >= 0) & (scores <= 1)).all():
            raise ValueError(f"`scores` must be in [0, 1]. Received: scores={scores}")
        values = {
            "image_size": (height, width),
            "boxes": boxes,
            "scores": scores,
            "classes": _array("classes", self.classes, np.int32, (count,)),
            "masks": _masks(self.masks, (count, height, width)),
            "class_names": None if self.class_names is None else tuple(self.class_names),
            "category_ids": None if self.category_ids is None else tuple(self.category_ids),
            "source": None if self.source is None else Path(self.source),
            "keypoints": _keypoints(self.keypoints, count),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._require_known_classes()

    def _require_known_classes(self) -> None:
        if len(self) and self.classes.min() < 0:
            raise ValueError(f"`classes` must be >= 0. Received: classes={self.classes}")
        for name in ("class_names", "category_ids"):
            table = getattr(self, name)
            if table is not None and len(self) and self.classes.max() >= len(table):
                raise ValueError(
                    f"`{name}` must have an entry for every class. "
                    f"Received: {len(table)} entries, class {self.classes.max()}"
                )

    @classmethod
    def empty(
        cls,
        image_size: tuple[int, int],
        masks: bool = True,
        num_keypoints: int | None = None,
        **fields: Any,
    ) -> Detections:
        """Makes the detections of a picture in which nothing was found.

        Args:
            image_size: (height, width).
            masks: Whether the model has masks.
            num_keypoints: J; None for models without keypoints.
            **fields: `class_names`, `category_ids`, `source`, `keypoint_layout`.
        """
        height, width = image_size
        return cls(
            boxes=np.zeros((0, 4), np.float32),
            scores=np.zeros(0, np.float32),
            classes=np.zeros(0, np.int32),
            image_size=image_size,
            masks=np.zeros((0, height, width), bool) if masks else None,
            keypoints=None if num_keypoints is None else np.zeros((0, num_keypoints, 3)),
            **fields,
        )

    def __len__(self) -> int:
        return len(self.boxes)

    def __iter__(self) -> Iterator[Detection]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, (int, np.integer)):
            mask = None if self.masks is None else self.masks[index]
            number = int(self.classes[index])
            return Detection(
                box=self.boxes[index],
                score=float(self.scores[index]),
                class_id=number,
                name=self._name(number),
                category_id=self._category_id(number),
                mask=mask,
                keypoints=None if self.keypoints is None else self.keypoints[index],
            )
        if not isinstance(index, slice):
            index = np.asarray(index)
            index = index.astype(np.int64) if index.size == 0 and index.dtype != bool else index
        return replace(
            self,
            boxes=self.boxes[index],
            scores=self.scores[index],
            classes=self.classes[index],
            masks=None if self.masks is None else self.masks[index],
            keypoints=None if self.keypoints is None else self.keypoints[index],
        )

    def __repr__(self) -> str:
        height, width = self.image_size
        found = ", ".join(f"{name} {count}" for name, count in self.counts().items()) or "nothing"
        best = f", scores {self.scores.min():.2f}..{self.scores.max():.2f}" if len(self) else ""
        fields = {"masks": self.masks, "keypoints": self.keypoints}
        extras = " and ".join(name for name, value in fields.items() if value is not None)
        extras = f"with {extras}" if extras else "boxes only"
        source = f", {self.source.name}" if self.source else ""
        return f"Detections({len(self)}: {found}{best}; {height}x{width} px, {extras}{source})"

    @property
    def names(self) -> tuple[str, ...]:
        """The class name of each detection; "class 3" where the model has no names."""
        return tuple(self._name(number) for number in self.classes.tolist())

    def counts(self) -> dict[str, int]:
        """Number of detections per class name, most frequent first."""
        return dict(Counter(self.names).most_common())

    def filter(
        self, score_threshold: float | None = None, classes: Iterable[str | int] | None = None
    ) -> Detections:
        """Keeps detections that score at least `score_threshold` and are of one of `classes`.

        Args:
            score_threshold: In [0, 1]; None keeps every score.
            classes: Class names or class numbers (0..K-1), mixed as you like; None keeps every
                class.

        Raises:
            ValueError: A name is not among `class_names`.
        """
        keep = np.ones(len(self), bool)
        if score_threshold is not None:
            keep &= self.scores >= score_threshold
        if classes is not None:
            keep &= np.isin(self.classes, class_numbers(classes, self.class_names))
        return self[keep]

    def mask_crops(self) -> Iterator[MaskCrop | None]:
        """Yields the mask of each detection in its window, None where there are no masks.

        Cheap for `CroppedMasks`, of which iterating over detections makes full masks.
        """
        for index in range(len(self)):
            if self.masks is None:
                yield None
            elif isinstance(self.masks, CroppedMasks):
                yield self.masks.crop(index)
            else:
                yield MaskCrop.from_full(self.masks[index])

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """Lists COCO results: bbox as xywh, the dataset's category ids, masks as RLE."""
        from kmrcnn.structures.formats import coco_results

        return coco_results(self, image_id)

    def to_dict(self) -> dict[str, Any]:
        """Gives everything as plain Python values, xyxy boxes and RLE masks, for JSON."""
        from kmrcnn.structures.formats import plain_dict

        return plain_dict(self)

    def to_json(self, indent: int | None = None) -> str:
        """Gives `to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent)

    def to_labelme(
        self, path: str | Path, image_path: str | Path | None = None, tolerance: float = 1.0
    ) -> Path:
        """Writes a LabelMe file to correct by hand: one polygon per part of a mask, one rectangle
        per bare box.

        Args:
            path: The JSON file to write; replaced if it exists.
            image_path: The picture, named in the file relative to it; None takes `source`.
            tolerance: Simplification of the polygons in pixels, see `mask_to_polygons`.

        Raises:
            ValueError: Neither `image_path` nor `source` is known.
        """
        from kmrcnn.structures.formats import write_labelme

        return write_labelme(self, path, image_path, tolerance)

    def to_supervision(self) -> supervision.Detections:
        """Converts to `supervision.Detections`, with `class_name` in its data.

        Raises:
            ImportError: The package is not installed.
        """
        from kmrcnn.structures.formats import supervision_detections

        return supervision_detections(self)

    def _name(self, number: int) -> str:
        return f"class {number}" if self.class_names is None else self.class_names[number]

    def _category_id(self, number: int) -> int:
        return number + 1 if self.category_ids is None else int(self.category_ids[number])


def class_numbers(classes: Iterable[str | int], class_names: tuple[str, ...] | None) -> list[int]:
    """Turns class names or numbers into numbers.

    Args:
        classes: Names, numbers (0..K-1), or numbers as text.
        class_names: Names of the K classes, or None where only numbers make sense.

    Returns:
        One number per entry of `classes`; several where a name occurs more than once in
        `class_names`.

    Raises:
        ValueError: A name is unknown, with the nearest known ones, or a number is out of range.
    """
    if isinstance(classes, str):
        raise ValueError(f"`classes` must be a list of names or numbers. Received: {classes!r}")
    numbers: list[int] = []
    for entry in classes:
        numbers += _numbers_of(entry, class_names or ())
    return numbers


def _numbers_of(entry: str | int, names: tuple[str, ...]) -> list[int]:
    named = [number for number, name in enumerate(names) if name == entry]
    if named:
        return named
    if isinstance(entry, (int, np.integer)) or (isinstance(entry, str) and entry.isdecimal()):
        if int(entry) < 0 or (names and int(entry) >= len(names)):
            raise ValueError(f"Classes are 0..{len(names) - 1}. Received: {entry!r}")
        return [int(entry)]
    close = difflib.get_close_matches(str(entry), names, n=3)
    hint = f"Did you mean {' or '.join(close)}?" if close else _listing(names)
    raise ValueError(f"Unknown class {entry!r}. {hint}")


def _listing(names: tuple[str, ...]) -> str:
    if not names:
        return "This model has no class names: give class numbers."
    more = f", ... ({len(names)} in all)" if len(names) > 10 else ""
    return f"Known classes: {', '.join(names[:10])}{more}"


def _array(name: str, value: Any, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(value)
    if array.size == 0 and array.ndim == 1 and shape[0] <= 0:
        array = array.reshape((0, *shape[1:]))
    fits = array.ndim == len(shape) and all(s in (-1, a) for s, a in zip(shape, array.shape))
    if not fits:
        letters = {"boxes": "(D, 4)"}.get(name, f"(D,) = {shape}")
        raise ValueError(
            f"`{name}` must have shape {letters}. Received: {name}.shape={array.shape}"
        )
    if np.issubdtype(dtype, np.integer) and array.size and array.dtype.kind not in "iu":
        raise ValueError(f"`{name}` must be integers. Received: {name}.dtype={array.dtype}")
    return array.astype(dtype)


def _masks(masks: Any, shape: tuple[int, int, int]) -> np.ndarray | CroppedMasks | None:
    if masks is None:
        return None
    masks = masks if isinstance(masks, CroppedMasks) else np.asarray(masks)
    if masks.shape != shape or masks.dtype != bool:
        raise ValueError(
            f"`masks` must be bool (D, H, W) = {shape}; threshold probabilities first. "
            f"Received: masks.shape={masks.shape}, dtype={masks.dtype}"
        )
    return masks


def _keypoints(keypoints: Any, count: int) -> np.ndarray | None:
    if keypoints is None:
        return None
    keypoints = np.asarray(keypoints)
    if keypoints.ndim != 3 or keypoints.shape[0] != count or keypoints.shape[2] != 3:
        raise ValueError(
            f"`keypoints` must have shape (D, J, 3) with D = {count}: x, y, score. "
            f"Received: keypoints.shape={keypoints.shape}"
        )
    return keypoints.astype(np.float32)


def _first_bad_box(boxes: np.ndarray) -> list[float]:
    bad = ~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:] < boxes[:, :2]).any(axis=1)
    return boxes[int(np.argmax(bad))].tolist()
