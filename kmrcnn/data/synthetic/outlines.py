"""Outlines of synthetic objects: polygons about the origin, and their pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

_SUPERSAMPLE = 4  # sub-pixels per pixel and axis of the antialiased coverage
_FRACTION_BITS = 4  # of the fixed-point corners given to OpenCV


@dataclass(frozen=True, eq=False)
class Footprint:
    """The pixels of one outline in a window that may stick out of the picture.

    Attributes:
        coverage: (h, w) float32, how much of each pixel lies inside the outline, 0..1.
        top: row of the window's first pixel.
        left: column of the window's first pixel.
    """

    coverage: np.ndarray
    top: int
    left: int

    def clip(self, size: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Slices of a picture of `size` and of the window where both overlap."""
        rows = _overlap(self.top, self.coverage.shape[0], size[0])
        columns = _overlap(self.left, self.coverage.shape[1], size[1])
        return (rows[0], columns[0]), (rows[1], columns[1])


def rasterize(polygon: np.ndarray, margin: int = 2) -> Footprint:
    """Fills a polygon.

    Args:
        polygon: (P, 2) x, y in pixels, continuous coordinates.
        margin: empty pixels around the outline.
    """
    left, top = np.floor(polygon.min(0)).astype(int) - margin
    right, bottom = np.ceil(polygon.max(0)).astype(int) + margin
    shape = ((bottom - top) * _SUPERSAMPLE, (right - left) * _SUPERSAMPLE)
    # OpenCV puts integers on pixel centres, hence the half sub-pixel.
    corners = (polygon - (left, top)) * _SUPERSAMPLE - 0.5
    fixed = np.round(corners * (1 << _FRACTION_BITS)).astype(np.int32)
    fine = cv2.fillPoly(np.zeros(shape, np.uint8), [fixed], 255, shift=_FRACTION_BITS)
    coverage = cv2.resize(
        fine, (int(right - left), int(bottom - top)), interpolation=cv2.INTER_AREA
    )
    return Footprint(coverage.astype(np.float32) / 255.0, int(top), int(left))


def make_outline(shape: str, radius: float, rng: np.random.Generator) -> np.ndarray:
    """A random outline (P, 2) of the named shape, about the origin and turned at random.

    Args:
        shape: a key of `OUTLINES`.
        radius: about the distance of the farthest points, in pixels.
        rng: source of randomness.
    """
    turn = rng.uniform(0, 2 * np.pi)
    cos, sin = np.cos(turn), np.sin(turn)
    return radius * OUTLINES[shape](rng) @ np.array([[cos, sin], [-sin, cos]])


def _coin(rng: np.random.Generator) -> np.ndarray:
    """A struck flan: a disc, a little oval and wavy, now and then chipped or cut straight."""
    angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    orders = np.arange(2, 12)[:, None]
    irregularity = rng.uniform(0.0, 0.04) if rng.random() < 0.7 else 0.0
    waves = rng.normal(0, irregularity, (10, 1)) / (orders - 1)
    radii = 1 + (waves * np.cos(orders * angles + rng.uniform(0, 2 * np.pi, (10, 1)))).sum(0)
    if rng.random() < 0.25:  # straight cuts
        for direction in rng.uniform(0, 2 * np.pi, rng.integers(1, 3)):
            towards = np.maximum(np.cos(angles - direction), 1e-3)
            radii = np.minimum(radii, rng.uniform(0.86, 0.97) / towards)
    if rng.random() < 0.25:  # nicks and ears
        for direction in rng.uniform(0, 2 * np.pi, rng.integers(1, 4)):
            away = np.angle(np.exp(1j * (angles - direction)))
            depth, width = rng.uniform(-0.14, 0.06), rng.uniform(0.06, 0.2)
            radii = radii + depth * np.exp(-((away / width) ** 2))
    aspect = rng.uniform(0.86, 1.0) if rng.random() < 0.5 else 1.0
    return radii[:, None] * np.stack([np.cos(angles), aspect * np.sin(angles)], axis=1)


def _rectangle(rng: np.random.Generator) -> np.ndarray:
    half = np.array([1.0, rng.uniform(0.45, 1.0)])
    half /= np.linalg.norm(half)
    return half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])


def _triangle(rng: np.random.Generator) -> np.ndarray:
    angles = np.arange(3) * 2 * np.pi / 3 + rng.uniform(-0.35, 0.35, 3)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _star(rng: np.random.Generator) -> np.ndarray:
    points = int(rng.integers(5, 8))
    angles = np.arange(2 * points) * np.pi / points
    radii = np.where(np.arange(2 * points) % 2 == 0, 1.0, rng.uniform(0.35, 0.6))
    return radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _leaf(rng: np.random.Generator) -> np.ndarray:
    """Two bent sides that meet in two points."""
    along = np.linspace(-1, 1, 25)
    bulge = 1 - along**2
    upper, lower = rng.uniform(0.25, 0.6, 2) * np.where(rng.random(2) < 0.15, 0.4, 1.0)
    sides = np.concatenate([upper * bulge, -lower * bulge[-2:0:-1]])
    return np.stack([np.concatenate([along, along[-2:0:-1]]), sides], axis=1)


OUTLINES: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "coin": _coin,
    "rectangle": _rectangle,
    "triangle": _triangle,
    "star": _star,
    "leaf": _leaf,
}


def _overlap(start: int, length: int, limit: int) -> tuple[slice, slice]:
    """Slices of 0..limit and of start..start + length where these two ranges overlap."""
    low, high = max(start, 0), max(min(start + length, limit), 0)
    high = max(low, high)
    return slice(low, high), slice(low - start, high - start)
