"""Text on pictures: filled tags that stay inside the picture and out of each other's way."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kmrcnn.visualize.colors import text_color

Rectangle = tuple[float, float, float, float]  # xyxy


class Label(NamedTuple):
    """A text, the box it belongs to, and the colour of its tag."""

    text: str
    box: Rectangle
    color: tuple[int, int, int]


def draw_labels(
    image: np.ndarray, labels: Sequence[Label], font_size: int, font: str | Path | None = None
) -> np.ndarray:
    """Draws each text on a filled tag at its box.

    A tag goes where it hides least of other tags and of small boxes, preferably on the top left
    corner of its own box, and always inside the picture. The first labels choose first.

    Args:
        image: (H, W, 3) RGB uint8.
        labels: Texts with their boxes.
        font_size: Pixels.
        font: A TrueType file, for scripts other than Latin; None takes the font that comes with
            Pillow.

    Returns:
        A new (H, W, 3) RGB uint8.
    """
    canvas = Image.fromarray(image)
    pen = ImageDraw.Draw(canvas)
    typeface = _typeface(font_size, None if font is None else str(font))
    boxes = np.array([label.box for label in labels], np.float64).reshape(-1, 4)
    placed = np.zeros((0, 4))
    for label, box in zip(labels, boxes):
        size = _tag_size(label.text, typeface)
        tag = _place(box, size, image.shape[:2], placed, boxes)
        placed = np.vstack([placed, tag])
        _draw_tag(pen, tag, label, typeface)
    return np.asarray(canvas).copy()


def draw_legend(
    image: np.ndarray,
    title: str,
    entries: Sequence[tuple[str, tuple[int, int, int]]],
    font_size: int,
) -> np.ndarray:
    """Draws a dark panel in the top left corner: a title, then a coloured square and a text per
    line.

    Args:
        image: (H, W, 3) RGB uint8.
        title: First line.
        entries: Text and colour of the other lines.
        font_size: Pixels.

    Returns:
        A new (H, W, 3) RGB uint8.
    """
    canvas = Image.fromarray(image)
    pen = ImageDraw.Draw(canvas, "RGBA")
    typeface = _typeface(font_size, None)
    line, pad = 1.5 * font_size, 0.7 * font_size
    widths = [typeface.getlength(title)] + [typeface.getlength(t) + line for t, _ in entries]
    right, bottom = 3 * pad + max(widths), 2.6 * pad + line * (len(entries) + 1)
    pen.rounded_rectangle((pad, pad, right, bottom), radius=pad / 2, fill=(0, 0, 0, 190))
    left, middle = 2 * pad, 1.8 * pad + 0.5 * line
    pen.text((left, middle), title, fill="white", font=typeface, anchor="lm")
    for text, color in entries:
        middle += line
        half = 0.4 * font_size
        pen.rectangle((left, middle - half, left + 2 * half, middle + half), fill=color)
        pen.text((left + line, middle), text, fill="white", font=typeface, anchor="lm")
    return np.asarray(canvas).copy()


@functools.lru_cache(maxsize=32)
def _typeface(size: int, path: str | None) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size) if path is None else ImageFont.truetype(path, size)


def _tag_size(text: str, typeface: ImageFont.FreeTypeFont) -> tuple[float, float]:
    """(width, height) px of the tag around a text."""
    return typeface.getlength(text) + 0.7 * typeface.size, round(1.35 * typeface.size)


def _place(
    box: np.ndarray,
    size: tuple[float, float],
    image_size: tuple[int, int],
    placed: np.ndarray,
    boxes: np.ndarray,
) -> np.ndarray:
    """Chooses (4,) xyxy for a tag: the place that hides the least, the first of equals."""
    width, height = size
    left, top = _places(box, width, height)
    left = np.clip(left, 0, max(image_size[1] - width, 0))
    top = np.clip(top, 0, max(image_size[0] - height, 0))
    tags = np.stack([left, top, left + width, top + height], axis=1)  # (T, 4)
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1)
    hidden_tags = _covered_area(tags, placed).sum(axis=1) / (width * height)
    hidden_objects = (_covered_area(tags, boxes) / sides.prod(axis=1)).sum(axis=1)
    cost = 4 * hidden_tags + hidden_objects + 0.02 * np.arange(len(tags))
    return tags[int(np.argmin(cost))]


def _places(box: np.ndarray, width: float, height: float) -> tuple[np.ndarray, np.ndarray]:
    """Left and top of a tag at all places worth trying, the best first."""
    x1, y1, x2, y2 = (float(side) for side in box)
    right, middle = x2 - width, (x1 + x2 - width) / 2
    above, below, bottom = y1 - height, y2, y2 - height
    places = [(x, above) for x in (x1, right, middle)]  # on the box
    places += [(x, y1) for x in (x1, right, middle)]  # inside, at the top
    places += [(x, below) for x in (x1, right, middle)]
    places += [(x, bottom) for x in (x1, right, middle)]
    places += [(x, y) for y in (y1, bottom) for x in (x1 - width, x2)]  # beside
    places += [(x, y) for y in (above - height, below + height) for x in (x1, right)]
    places += [(middle, (y1 + y2 - height) / 2)]
    left, top = np.array(places).T
    return left, top


def _covered_area(tags: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(T, 4), (N, 4) -> (T, N) area that tags and other rectangles share."""
    low = np.maximum(tags[:, None, :2], others[None, :, :2])
    high = np.minimum(tags[:, None, 2:], others[None, :, 2:])
    return np.clip(high - low, 0, None).prod(axis=-1)


def _draw_tag(
    pen: ImageDraw.ImageDraw, tag: np.ndarray, label: Label, typeface: ImageFont.FreeTypeFont
) -> None:
    x1, y1, x2, y2 = (round(float(side)) for side in tag)
    pen.rounded_rectangle((x1, y1, x2 - 1, y2 - 1), radius=typeface.size / 5, fill=label.color)
    middle = (x1 + 0.35 * typeface.size, (y1 + y2) / 2)
    pen.text(middle, label.text, fill=text_color(label.color), font=typeface, anchor="lm")
