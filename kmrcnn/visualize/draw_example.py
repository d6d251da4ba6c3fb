"""An annotated picture of a dataset, drawn: masks, boxes, class names, keypoints."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from kmrcnn.data.example import Example
from kmrcnn.structures.detections import Detections
from kmrcnn.visualize.colors import class_color
from kmrcnn.visualize.draw import draw_detections, font_size, line_width
from kmrcnn.visualize.labels import Label, draw_labels

_LIGHT, _DARK = (255, 255, 255), (0, 0, 0)
_SHIFT = 4  # fractional bits of the coordinates OpenCV draws at


def draw_example(example: Example, class_names: Sequence[str]) -> np.ndarray:
    """Draws annotations on their picture.

    A dataset of one class has a colour per object, others one per class. Crowds are named so.
    Keypoints are discs, white where visible and black where hidden.

    Args:
        example: Picture and objects.
        class_names: Names of the classes.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    detections = Detections(
        boxes=example.boxes,
        scores=np.ones(len(example.boxes), np.float32),
        classes=example.classes,
        image_size=example.size,
        masks=None if example.masks is None else example.full_masks(),
        class_names=tuple(class_names),
    )
    canvas = draw_detections(example.image, detections, labels=False)
    single = len(class_names) == 1
    colors = [class_color(i if single else int(c)) for i, c in enumerate(example.classes)]
    if example.keypoints is not None:
        for points, color in zip(example.keypoints, colors):
            _draw_keypoints(canvas, points, color)
    tags = [
        Label(f"{name} (crowd)" if crowd else name, tuple(box.tolist()), color)
        for name, crowd, box, color in zip(
            detections.names, example.is_crowd, example.boxes, colors
        )
    ]
    return draw_labels(canvas, tags, font_size(example.size))


def _draw_keypoints(canvas: np.ndarray, points: np.ndarray, color: tuple[int, int, int]) -> None:
    """Draws (J, 3) x, y, visibility into `canvas`."""
    line = line_width(canvas.shape[:2])
    radius = 2 * line << _SHIFT
    for x, y, visibility in points.tolist():
        if visibility > 0:
            center = (round(x * 2**_SHIFT), round(y * 2**_SHIFT))
            fill = _LIGHT if visibility > 1 else _DARK
            cv2.circle(canvas, center, radius, fill, cv2.FILLED, cv2.LINE_AA, _SHIFT)
            cv2.circle(canvas, center, radius, color, line, cv2.LINE_AA, _SHIFT)
