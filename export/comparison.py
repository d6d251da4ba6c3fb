"""How far the detections of an artefact are from the model's, picture by picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kmrcnn.export.tolerances import Tolerance
from kmrcnn.structures.detections import Detections

MIN_IOU = 0.5  # of two boxes that can be the same object
HEATMAP_CELLS = 56  # along a box: keypoints are known no finer


class Comparison:
    """Collects differences; both sides in the pixels of the original picture.

    Detections are paired by class and overlap, never by their place in the list: two scores that
    differ in the sixth digit may change places without anything being wrong. Of the pairs of one
    class with IoU >= 0.5, the one that overlaps most is taken first, and takes both out.

    Detections below `score_floor` cannot be missing or extra, but may be the partner of one above
    it: whatever lies at the threshold of the model, or at the end of a full list, comes and goes
    with the last digit of its score.

    Args:
        tolerance: What is allowed.
        score_floor: Detections from this score on must have a partner.
    """

    def __init__(self, tolerance: Tolerance, score_floor: float):
        self.tolerance = tolerance
        self.score_floor = score_floor
        self.num_pictures = 0
        self.num_reference = 0
        self.missing = 0
        self.extra = 0
        self._box_differences: list[float] = []
        self._score_differences: list[float] = []
        self._equal_pixels = 0
        self._compared_pixels = 0
        self._equal_keypoints = 0
        self._compared_keypoints = 0

    def add(self, reference: Detections, found: Detections, is_full: bool = False) -> None:
        """Compares one picture.

        Args:
            reference: The model's.
            found: The artefact's.
            is_full: The model filled all its slots, so the weakest detection marks a threshold.
        """
        pairs = pair_up(reference, found)
        floor = self.score_floor
        if is_full and len(reference):
            floor = max(floor, float(reference.scores.min()) + self.tolerance.score)
        paired = (set(pairs[:, 0].tolist()), set(pairs[:, 1].tolist()))
        wanted, given = (np.flatnonzero(side.scores >= floor) for side in (reference, found))
        self.num_pictures += 1
        self.num_reference += len(wanted)
        self.missing += sum(index not in paired[0] for index in wanted.tolist())
        self.extra += sum(index not in paired[1] for index in given.tolist())
        for ours, theirs in pairs[reference.scores[pairs[:, 0]] >= floor]:
            self._add_pair(reference, ours, found, theirs)

    def _add_pair(self, reference: Detections, ours, found: Detections, theirs) -> None:
        boxes = np.abs(reference.boxes[ours] - found.boxes[theirs])
        self._box_differences.append(float(boxes.max()))
        scores = abs(float(reference.scores[ours]) - float(found.scores[theirs]))
        self._score_differences.append(scores)
        if reference.masks is not None:
            self._add_masks(reference, ours, found, theirs)
        if reference.keypoints is not None:
            self._add_keypoints(reference, ours, found, theirs)

    def _add_masks(self, reference: Detections, ours, found: Detections, theirs) -> None:
        window = _window(reference.boxes[ours], found.boxes[theirs])
        wanted = reference.masks[ours][window]
        self._compared_pixels += wanted.size
        if found.masks is not None:
            self._equal_pixels += int((wanted == found.masks[theirs][window]).sum())

    def _add_keypoints(self, reference: Detections, ours, found: Detections, theirs) -> None:
        wanted = reference.keypoints[ours][:, :2]
        self._compared_keypoints += len(wanted)
        if found.keypoints is None:
            return
        box = reference.boxes[ours]
        cell = (box[2:] - box[:2]).max() / HEATMAP_CELLS
        distance = np.abs(wanted - found.keypoints[theirs][:, :2]).max(axis=1)
        self._equal_keypoints += int((distance <= cell).sum())

    @property
    def matched(self) -> float:
        """Share of the detections of both sides that have a partner; NaN if there are none."""
        total = self.num_reference + self.extra
        return (self.num_reference - self.missing) / total if total else math.nan

    @property
    def mask_pixels(self) -> float:
        """Share of equal mask pixels inside the boxes of the pairs; NaN without masks.

        Outside the boxes pixels are equal whatever the masks are.
        """
        return self._equal_pixels / self._compared_pixels if self._compared_pixels else math.nan

    @property
    def keypoints(self) -> float:
        """Share of the keypoints that are no more than a cell of the heatmap apart, else NaN."""
        if not self._compared_keypoints:
            return math.nan
        return self._equal_keypoints / self._compared_keypoints

    def box_difference(self, share: float = 1.0) -> float:
        """Pixels by which no more than 1 - `share` of the pairs differ in a corner; 1: the most."""
        return _quantile(self._box_differences, share)

    def score_difference(self, share: float = 1.0) -> float:
        """As `box_difference`, for scores."""
        return _quantile(self._score_differences, share)

    def failures(self) -> list[str]:
        """What is beyond the tolerance, in words."""
        if not self.num_reference and not self.extra:
            return [f"nothing to compare: no detection scores {self.score_floor:g} or more"]
        tolerance, share = self.tolerance, self.tolerance.share
        measured = {
            "matched detections": (self.matched, ">=", tolerance.matched),
            "box difference, px": (self.box_difference(share), "<=", tolerance.box_px),
            "score difference": (self.score_difference(share), "<=", tolerance.score),
        }
        if self._compared_pixels:
            measured["equal mask pixels"] = (self.mask_pixels, ">=", tolerance.mask_pixels)
        if self._compared_keypoints:
            measured["equal keypoints"] = (self.keypoints, ">=", tolerance.keypoints)
        return [
            f"{name}: {value:.6g}, must be {sign} {limit:g}"
            for name, (value, sign, limit) in measured.items()
            if not (value <= limit if sign == "<=" else value >= limit)
        ]

    def to_dict(self) -> dict[str, float | int]:
        """All figures; the names that end in "_share" are for the tolerance's share."""
        share = self.tolerance.share
        return {
            "pictures": self.num_pictures,
            "detections": self.num_reference,
            "score_floor": self.score_floor,
            "matched": self.matched,
            "missing": self.missing,
            "extra": self.extra,
            "box_px_max": self.box_difference(),
            "box_px_share": self.box_difference(share),
            "score_max": self.score_difference(),
            "score_share": self.score_difference(share),
            "mask_pixels": self.mask_pixels,
            "keypoints": self.keypoints,
        }


def pair_up(reference: Detections, found: Detections) -> np.ndarray:
    """Pairs (P, 2) of indices into both, of one class, best overlap first."""
    ious = _pairwise_iou(reference.boxes, found.boxes)  # (D, E)
    ious[reference.classes[:, None] != found.classes[None, :]] = 0.0
    pairs = []
    while ious.size and ious.max() >= MIN_IOU:
        row, column = np.unravel_index(ious.argmax(), ious.shape)
        pairs.append((row, column))
        ious[row], ious[:, column] = 0.0, 0.0
    return np.array(pairs, int).reshape(-1, 2)


def _pairwise_iou(boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    """IoU (D, E) of boxes (D, 4) and (E, 4); 0 for empty ones."""
    a, b = boxes_a[:, None, :].astype(np.float64), boxes_b[None, :, :].astype(np.float64)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.prod(np.maximum(sides, 0.0), axis=-1)
    areas = np.prod(a[..., 2:] - a[..., :2], axis=-1) + np.prod(b[..., 2:] - b[..., :2], axis=-1)
    return shared / np.maximum(areas - shared, 1e-12)


def _window(box_a: np.ndarray, box_b: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of the pixels that either of two boxes touches."""
    x1, y1 = np.floor(np.minimum(box_a[:2], box_b[:2])).astype(int)
    x2, y2 = np.ceil(np.maximum(box_a[2:], box_b[2:])).astype(int)
    return slice(y1, y2), slice(x1, x2)


def _quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of them do not exceed; NaN if there are none."""
    if not values:
        return math.nan
    return float(np.quantile(values, share, method="inverted_cdf"))
