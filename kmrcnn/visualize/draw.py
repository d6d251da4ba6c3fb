"""Detections on their picture: translucent masks with outlines, boxes, skeletons, labels."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from kmrcnn.structures.detections import Detections
from kmrcnn.structures.keypoint_layout import KeypointLayout
from kmrcnn.visualize.colors import class_color
from kmrcnn.visualize.draw_keypoints import draw_keypoints
from kmrcnn.visualize.labels import Label, draw_labels

_SHIFT = 4  # fractional bits of the coordinates OpenCV draws at


def draw_detections(
    image: np.ndarray,
    detections: Detections,
    *,
    color_by: Literal["auto", "class", "instance"] = "auto",
    masks: bool = True,
    boxes: bool = True,
    keypoints: bool = True,
    labels: bool = True,
    opacity: float = 0.45,
    font: str | Path | None = None,
    detail_size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Draws detections, with lines and letters that suit the size of the picture.

    Small objects lie on top of large ones, so that nothing is hidden.

    Args:
        image: (H, W), (H, W, 1) or (H, W, C >= 3) uint8, RGB first; the picture the detections were
            found in.
        detections: What to draw.
        color_by: "class" gives a class the same colour in every picture, "instance" gives every
            object its own; "auto" takes "instance" for models with a single class.
        masks: Fill and outline masks, where there are any.
        boxes: Draw boxes.
        keypoints: Draw the keypoints that `detections.keypoint_layout` calls visible, where there
            are any, with its skeleton.
        labels: Write class and score.
        opacity: Of the fill of masks, in [0, 1].
        font: A TrueType file for class names in scripts other than Latin.
        detail_size: (height, width) that lines and letters suit; None: the picture's. A smaller
            one keeps them fine in a huge picture of small objects.

    Returns:
        A new (H, W, 3) RGB uint8.

    Raises:
        ValueError: The picture is not uint8, or not of the size the detections were found in.
    """
    canvas = as_rgb(image)
    if canvas.shape[:2] != detections.image_size:
        raise ValueError(
            "`image` must have the size the detections were found in. "
            f"Received: {canvas.shape[:2]}, detections.image_size={detections.image_size}"
        )
    order = _large_to_small(detections)
    colors = _colors(detections, color_by)
    detail_size = detail_size or detections.image_size
    line = line_width(detail_size)
    if masks and detections.masks is not None:
        canvas = _draw_masks(canvas, detections, order, colors, opacity, line)
    if boxes:
        canvas = _draw_boxes(canvas, detections, order, colors, line)
    if keypoints and detections.keypoints is not None:
        _draw_skeletons(canvas, detections, order, colors, line)
    if labels:
        tags = [_label(detections, index, colors[index]) for index in reversed(order)]
        canvas = draw_labels(canvas, tags, font_size(detail_size), font)
    return canvas


def as_rgb(image: np.ndarray) -> np.ndarray:
    """Copies a uint8 picture, (H, W) or (H, W, C), as (H, W, 3); more channels are left out."""
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim not in (2, 3):
        raise ValueError(
            "`image` must be uint8 of shape (H, W) or (H, W, C). "
            f"Received: shape={image.shape}, dtype={image.dtype}"
        )
    image = image[..., None] if image.ndim == 2 else image
    if image.shape[2] < 3:
        image = np.repeat(image[..., :1], 3, axis=2)  # (H, W, 3)
    return np.array(image[..., :3], order="C")


def line_width(image_size: tuple[int, int]) -> int:
    """Pixels, for a picture of (height, width)."""
    return max(1, round(0.0028 * (image_size[0] * image_size[1]) ** 0.5))


def font_size(image_size: tuple[int, int]) -> int:
    """Pixels, for a picture of (height, width)."""
    return max(10, round(0.021 * (image_size[0] * image_size[1]) ** 0.5))


def draw_box(
    canvas: np.ndarray, box: np.ndarray, color: tuple[int, int, int], thickness: int
) -> None:
    """Draws a box, (4,) xyxy in continuous coordinates, into `canvas`, on the pixels of its rim."""
    last = np.array(canvas.shape[1::-1]) - 1
    low = np.clip(np.floor(box[:2]), 0, last).astype(int).tolist()
    high = np.clip(np.ceil(box[2:]) - 1, 0, last).astype(int).tolist()
    cv2.rectangle(canvas, low, high, color, thickness)


def _draw_masks(
    canvas: np.ndarray,
    detections: Detections,
    order: list[int],
    colors: list[tuple[int, int, int]],
    opacity: float,
    line: int,
) -> np.ndarray:
    crops = list(detections.mask_crops())
    paint = canvas.copy()  # (H, W, 3), the plain colours; a small mask covers a large one
    for index in order:
        paint[crops[index].slices()][crops[index].bitmap] = colors[index]
    canvas = cv2.addWeighted(paint, opacity, canvas, 1 - opacity, 0)
    for index in order:
        for polygon in crops[index].to_polygons(tolerance=1.0):
            _draw_outline(canvas, polygon, colors[index], line)
    return canvas


def _draw_boxes(
    canvas: np.ndarray,
    detections: Detections,
    order: list[int],
    colors: list[tuple[int, int, int]],
    line: int,
) -> np.ndarray:
    """Solid boxes; faint and thin ones where a mask already tells the outline."""
    masked = detections.masks is not None
    paint = canvas.copy()
    for index in order:
        draw_box(
            paint, detections.boxes[index], colors[index], max(line - 1, 1) if masked else line
        )
    return cv2.addWeighted(paint, 0.5, canvas, 0.5, 0) if masked else paint


def _draw_skeletons(
    canvas: np.ndarray,
    detections: Detections,
    order: list[int],
    colors: list[tuple[int, int, int]],
    line: int,
) -> None:
    layout = detections.keypoint_layout or KeypointLayout()
    # Coordinates that are annotators' numbers name pixels: their centres are meant.
    to_centres = 0.5 - layout.annotation_offset
    for index in order:
        points, scores = detections.keypoints[index, :, :2], detections.keypoints[index, :, 2]
        visible = scores >= layout.visible_score
        draw_keypoints(canvas, points + to_centres, visible, layout.skeleton, colors[index], line)


def _draw_outline(
    canvas: np.ndarray, polygon: np.ndarray, color: tuple[int, int, int], thickness: int
) -> None:
    """Draws a closed, antialiased line through (P, 2) points in continuous coordinates."""
    points = np.round((polygon - 0.5) * 2**_SHIFT).astype(np.int32)  # OpenCV: centres are whole
    cv2.polylines(canvas, [points], True, color, thickness, cv2.LINE_AA, _SHIFT)


def _large_to_small(detections: Detections) -> list[int]:
    sides = detections.boxes[:, 2:] - detections.boxes[:, :2]
    return np.argsort(-sides.prod(axis=1), kind="stable").tolist()


def _colors(detections: Detections, color_by: str) -> list[tuple[int, int, int]]:
    if color_by not in ("auto", "class", "instance"):
        raise ValueError(
            f'`color_by` must be "auto", "class" or "instance". Received: {color_by!r}'
        )
    names = detections.class_names
    single = names is not None and len(names) == 1
    if color_by == "instance" or (color_by == "auto" and single):
        return [class_color(index) for index in range(len(detections))]
    return [class_color(number) for number in detections.classes.tolist()]


def _label(detections: Detections, index: int, color: tuple[int, int, int]) -> Label:
    text = f"{detections.names[index]} {round(100 * float(detections.scores[index]))}%"
    return Label(text, tuple(detections.boxes[index].tolist()), color)
