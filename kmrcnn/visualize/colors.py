"""Colours that are easy to tell apart, the same for a class in every picture and every run."""

from __future__ import annotations

import functools

import cv2
import numpy as np

NUM_COLORS = 256  # afterwards they repeat
_FIRST = (255, 112, 67)  # class 0, and the start of the search


def class_color(number: int) -> tuple[int, int, int]:
    """Gives the colour of a class, or of the n-th instance, as RGB 0-255.

    Neighbours in number differ most: each colour is the one farthest, in CIELAB, from all that come
    before it. It depends on nothing but the number.
    """
    red, green, blue = _palette()[number % NUM_COLORS]
    return int(red), int(green), int(blue)


def text_color(background: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white, whichever reads better on `background` (RGB 0-255)."""
    red, green, blue = background
    return (16, 16, 16) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)


@functools.cache
def _palette() -> np.ndarray:
    """(NUM_COLORS, 3) uint8 RGB, a farthest-point search among vivid colours."""
    candidates = _vivid_colors()
    lab = _to_lab(candidates)
    chosen = [int(np.argmin(np.square(candidates - np.array(_FIRST)).sum(axis=1)))]
    distance = np.full(len(lab), np.inf)
    while len(chosen) < NUM_COLORS:
        distance = np.minimum(distance, np.square(lab - lab[chosen[-1]]).sum(axis=1))
        chosen.append(int(np.argmax(distance)))
    return candidates[chosen].astype(np.uint8)


def _vivid_colors() -> np.ndarray:
    """(N, 3) int64 RGB: neither dull nor glaring, neither so dark nor so light that they vanish."""
    axis = np.arange(0, 256, 15)
    colors = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    lightness, a, b = _to_lab(colors).T
    chroma = np.hypot(a, b)
    return colors[(lightness > 42) & (lightness < 90) & (chroma > 40) & (chroma < 98)]


def _to_lab(colors: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(colors[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
