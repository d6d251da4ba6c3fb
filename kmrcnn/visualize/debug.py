"""One picture per stage of the model, from an `Explanation`: where was this object lost?"""

from __future__ import annotations

import cv2
import numpy as np

from kmrcnn.structures.explanation import Explanation
from kmrcnn.visualize.colors import class_color
from kmrcnn.visualize.draw import as_rgb, draw_box, draw_detections, font_size, line_width
from kmrcnn.visualize.labels import draw_legend

Color = tuple[int, int, int]

LEVEL_COLORS: dict[int, Color] = {
    2: (255, 214, 64),
    3: (94, 214, 120),
    4: (64, 196, 255),
    5: (167, 139, 250),
    6: (255, 110, 130),
}
STATUS_COLORS: dict[str, Color] = {
    "kept": (80, 230, 120),
    "nms": (255, 90, 80),
    "limit": (255, 170, 50),
    "score": (240, 225, 80),
}
_STATUS_TEXTS = {
    "kept": "kept",
    "nms": "removed by NMS",
    "limit": "over the limit",
    "score": "below your score threshold",
}
_OTHER_LEVEL: Color = (230, 230, 230)


def draw_explanation(
    image: np.ndarray, explanation: Explanation, max_boxes: int = 200
) -> dict[str, np.ndarray]:
    """Draws what happened at each stage.

    Args:
        image: (H, W) or (H, W, C) uint8, RGB first; the explained picture.
        explanation: Of that picture, boxes in its pixels.
        max_boxes: At most so many proposals, and so many candidates of each status, are drawn, the
            best ones; the legends count all.

    Returns:
        (H, W, 3) RGB uint8 pictures: "1_proposals" by pyramid level, "2_scored" by class before
        NMS, "3_removed" by what became of each candidate, with a line from a box removed by NMS to
        the one that removed it, and "4_detections".

    Raises:
        ValueError: The picture has another size than the explanation.
    """
    canvas = as_rgb(image)
    if canvas.shape[:2] != explanation.image_size:
        raise ValueError(
            "`image` must have the size of the explained picture. "
            f"Received: {canvas.shape[:2]}, explanation.image_size={explanation.image_size}"
        )
    dimmed = _dim(canvas)
    return {
        "1_proposals": _draw_proposals(dimmed, explanation, max_boxes),
        "2_scored": _draw_scored(dimmed, explanation, max_boxes),
        "3_removed": _draw_removed(dimmed, explanation, max_boxes),
        "4_detections": draw_detections(canvas, explanation.detections),
    }


def _draw_proposals(image: np.ndarray, explanation: Explanation, max_boxes: int) -> np.ndarray:
    best = np.argsort(-explanation.objectness, kind="stable")[:max_boxes]
    colors = [LEVEL_COLORS.get(level, _OTHER_LEVEL) for level in explanation.levels[best].tolist()]
    picture = _draw_boxes(image, explanation.proposals[best], colors, explanation.objectness[best])
    levels, counts = np.unique(explanation.levels, return_counts=True)
    entries = [
        (f"P{level}  {count}", LEVEL_COLORS.get(level, _OTHER_LEVEL))
        for level, count in zip(levels.tolist(), counts.tolist())
    ]
    total = len(explanation.proposals)
    shown = f" (best {len(best)} drawn)" if len(best) < total else ""
    return _with_legend(picture, f"{total} proposals{shown}", entries)


def _draw_scored(image: np.ndarray, explanation: Explanation, max_boxes: int) -> np.ndarray:
    best = np.argsort(-explanation.scores, kind="stable")[:max_boxes]
    colors = [class_color(number) for number in explanation.classes[best].tolist()]
    picture = _draw_boxes(image, explanation.boxes[best], colors, explanation.scores[best])
    names = explanation.detections.class_names
    numbers, counts = np.unique(explanation.classes, return_counts=True)
    most = np.argsort(-counts, kind="stable")[:8]
    entries = [
        (
            f"{names[numbers[i]] if names else f'class {numbers[i]}'}  {counts[i]}",
            class_color(numbers[i]),
        )
        for i in most
    ]
    title = f"{len(explanation.boxes)} above {explanation.score_threshold:g}, before NMS"
    return _with_legend(picture, title, entries)


def _draw_removed(image: np.ndarray, explanation: Explanation, max_boxes: int) -> np.ndarray:
    picture = image
    for status in ("nms", "limit", "score", "kept"):  # the kept ones on top
        of_status = np.flatnonzero(explanation.status == status)
        best = of_status[np.argsort(-explanation.scores[of_status], kind="stable")][:max_boxes]
        strength = np.ones(len(best)) if status == "kept" else explanation.scores[best]
        colors = [STATUS_COLORS[status]] * len(best)
        picture = _draw_boxes(picture, explanation.boxes[best], colors, strength)
        if status == "nms":
            picture = _draw_suppressors(picture, explanation, best)
    counts = {status: explanation.count(status) for status in STATUS_COLORS}
    entries = [
        (f"{_STATUS_TEXTS[status]}  {count}", STATUS_COLORS[status])
        for status, count in counts.items()
        if count or status in ("kept", "nms")
    ]
    return _with_legend(picture, f"{len(explanation.boxes)} candidates", entries)


def _draw_suppressors(
    image: np.ndarray, explanation: Explanation, removed: np.ndarray
) -> np.ndarray:
    """Joins the centre of each removed box with the centre of the box that removed it."""
    canvas = image.copy()
    centers = (explanation.boxes[:, :2] + explanation.boxes[:, 2:]) / 2  # (N, 2)
    for index in removed[explanation.suppressed_by[removed] >= 0].tolist():
        ends = np.stack([centers[index], centers[explanation.suppressed_by[index]]])
        start, end = np.round((ends - 0.5) * 16).astype(int).tolist()
        cv2.line(canvas, start, end, STATUS_COLORS["nms"], 1, cv2.LINE_AA, 4)
    return canvas


def _draw_boxes(
    image: np.ndarray, boxes: np.ndarray, colors: list[Color], strength: np.ndarray
) -> np.ndarray:
    """Draws boxes, the strongest last and brightest; `strength` (N,) in [0, 1]."""
    canvas = image.copy()
    thickness = max(line_width(image.shape[:2]) - 1, 1)
    for index in np.argsort(strength, kind="stable").tolist():
        share = 0.35 + 0.65 * float(strength[index])
        color = tuple(round(share * channel) for channel in colors[index])
        draw_box(canvas, boxes[index], color, thickness)
    return canvas


def _with_legend(image: np.ndarray, title: str, entries: list[tuple[str, Color]]) -> np.ndarray:
    return draw_legend(image, title, entries, font_size(image.shape[:2]))


def _dim(image: np.ndarray) -> np.ndarray:
    """Dark and nearly grey, so that coloured lines stand out."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(grey, 0.45, image, 0.1, 0)
