"""Explanation: every decision between a picture and its detections, in original pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kmrcnn.structures.detections import Detections

STATUSES = ("kept", "nms", "limit", "score")


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """What the model proposed, scored, removed and kept in one picture.

    A candidate is one (proposal, class) pair that passed the model's score threshold, with its
    refined box. Its status:

    - ``"kept"``: it is a detection;
    - ``"nms"``: it overlaps a better candidate of its class, whose index is in `suppressed_by`;
    - ``"limit"``: it ranks below `max_detections`;
    - ``"score"``: the model kept it, but it scores below the threshold given to the predictor.

    Attributes:
        proposals: (R, 4) float32 xyxy, original pixels.
        objectness: (R,) float32, the score of the region proposal network, best first.
        levels: (R,) int32, the pyramid level of the anchor a proposal comes from, 2..6 for P2..P6.
        roi_levels: (R,) int32, the pyramid level its features are pooled from, 2..5.
        boxes: (N, 4) float32 xyxy of the candidates, original pixels.
        scores: (N,) float32.
        classes: (N,) int32, 0..K-1.
        proposal_index: (N,) int32, the proposal a candidate comes from.
        status: (N,) str, see above.
        suppressed_by: (N,) int32, the candidate that removed this one; -1 unless the status is
            "nms".
        num_below_threshold: Number of (proposal, class) pairs that failed the model's score
            threshold.
        score_threshold: The model's score threshold.
        nms_threshold: IoU above which NMS removes a box, per class.
        max_detections: The limit per picture.
        detections: The result.

    Raises:
        ValueError: Shapes disagree, or a status is unknown.
    """

    proposals: np.ndarray
    objectness: np.ndarray
    levels: np.ndarray
    roi_levels: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    proposal_index: np.ndarray
    status: np.ndarray
    suppressed_by: np.ndarray
    num_below_threshold: int
    score_threshold: float
    nms_threshold: float
    max_detections: int
    detections: Detections

    def __post_init__(self):
        for name, dtype, like in _FIELDS:
            count = len(getattr(self, like))
            shape = (count, 4) if name in ("proposals", "boxes") else (count,)
            array = np.asarray(getattr(self, name))
            if array.shape != shape:
                raise ValueError(f"`{name}` must have shape {shape}. Received: {array.shape}")
            object.__setattr__(self, name, array.astype(dtype))
        unknown = sorted(set(self.status.tolist()) - set(STATUSES))
        if unknown:
            raise ValueError(f"`status` must be among {STATUSES}. Received: {unknown}")

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the original image."""
        return self.detections.image_size

    def count(self, status: str) -> int:
        """Number of candidates with this status."""
        return int((self.status == status).sum())

    def summary(self) -> str:
        """Tells as a small text table how many boxes each stage kept and removed."""
        rows = [
            ("proposals", len(self.proposals), f"by anchor level: {_per_level(self.levels)}"),
            ("", None, f"pooled from: {_per_level(self.roi_levels)}"),
            ("  - failed the score", self.num_below_threshold, self._threshold_note()),
            ("candidates", len(self.boxes), _per_class(self, self.classes)),
            (
                "  - removed by NMS",
                self.count("nms"),
                f"IoU above {self.nms_threshold:g}, per class",
            ),
            ("  - over the limit", self.count("limit"), f"of {self.max_detections} per picture"),
            (
                "  - below your score",
                self.count("score"),
                "kept by the model, not by the predictor",
            ),
            ("detections", len(self.detections), _per_class(self, self.detections.classes)),
        ]
        lines = [
            f"{name:<21}{'' if count is None else count:>9}  {note}".rstrip()
            for name, count, note in rows
        ]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return (
            f"Explanation({len(self.proposals)} proposals -> {len(self.boxes)} candidates -> "
            f"{len(self.detections)} detections)"
        )

    def _threshold_note(self) -> str:
        return f"(proposal, class) pairs not above {self.score_threshold:g}"


_FIELDS = (  # name, dtype, the field that has as many entries
    ("proposals", np.float32, "proposals"),
    ("objectness", np.float32, "proposals"),
    ("levels", np.int32, "proposals"),
    ("roi_levels", np.int32, "proposals"),
    ("boxes", np.float32, "boxes"),
    ("scores", np.float32, "boxes"),
    ("classes", np.int32, "boxes"),
    ("proposal_index", np.int32, "boxes"),
    ("status", np.str_, "boxes"),
    ("suppressed_by", np.int32, "boxes"),
)


def _per_level(levels: np.ndarray) -> str:
    numbers, counts = np.unique(levels, return_counts=True)
    return "  ".join(f"P{number} {count}" for number, count in zip(numbers, counts)) or "none"


def _per_class(explanation: Explanation, classes: np.ndarray, most: int = 6) -> str:
    names = explanation.detections.class_names
    numbers, counts = np.unique(classes, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    parts = [
        f"{names[numbers[i]] if names else f'class {numbers[i]}'} {counts[i]}" for i in order[:most]
    ]
    return ", ".join(parts) + (f", and {len(order) - most} more" if len(order) > most else "")
