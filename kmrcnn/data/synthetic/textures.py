"""Random fields, backgrounds and surfaces for synthetic pictures."""

from __future__ import annotations

import cv2
import numpy as np


def smooth_noise(
    size: tuple[int, int], cells: tuple[float, ...], rng: np.random.Generator, decay: float = 1.0
) -> np.ndarray:
    """Noise at several scales.

    Args:
        size: (height, width).
        cells: grain size of each scale in pixels; 1 is white noise.
        rng: source of randomness.
        decay: weight of each scale relative to the one before it.

    Returns:
        (H, W) float32 of mean about 0 and standard deviation about 1.
    """
    height, width = size
    total = np.zeros(size, np.float32)
    weights = np.float32(decay) ** np.arange(len(cells), dtype=np.float32)
    weights /= np.sqrt((weights**2).sum())
    for cell, weight in zip(cells, weights):
        grid = (max(2, round(height / cell)), max(2, round(width / cell)))
        noise = rng.standard_normal(grid, dtype=np.float32) * weight
        if grid != (height, width):
            noise = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) * 1.3
        total += noise
    return total


def light_field(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Uneven light: ramps, glows and vignettes mixed. (H, W) float32 from 0 to 1."""
    height, width = size
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    turn = rng.uniform(0, 2 * np.pi)
    field = rng.uniform(0.2, 1.0) * (np.float32(np.cos(turn)) * x + np.float32(np.sin(turn)) * y)
    if rng.random() < 0.7:  # glow about a point near the border
        centre_x, centre_y = rng.uniform(-1.2, 1.2, 2).astype(np.float32)
        reach = np.float32(rng.uniform(0.4, 1.6))
        bell = np.exp(-(((x - centre_x) / reach) ** 2)) * np.exp(-(((y - centre_y) / reach) ** 2))
        field = field + np.float32(rng.uniform(0.5, 2.5)) * bell
    if rng.random() < 0.4:  # vignette
        field = field - np.float32(rng.uniform(0.2, 1.0)) * (x * x + y * y)
    if rng.random() < 0.6:  # clouds
        clouds = smooth_noise(size, (max(size) / 3.0, max(size) / 6.0), rng, 0.6)
        field = field + np.float32(rng.uniform(0.05, 0.35)) * clouds
    low, high = field.min(), field.max()
    return ((field - low) / max(high - low, 1e-6)).astype(np.float32)


def pattern(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A repeating pattern: stripes, checks, dots or weave, warped. (H, W) float32, about -1..1."""
    height, width = size
    period = rng.uniform(4, 28)
    turn = rng.uniform(0, np.pi)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    warp = smooth_noise(size, (max(size) / 4.0,), rng) * np.float32(rng.uniform(0, 1.5))
    wave = np.float32(2 * np.pi / period)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    along = np.sin(wave * (cos * x + sin * y) + warp)
    kind = rng.integers(4)
    if kind == 0:
        result = along
    else:
        across = np.sin(wave * (cos * y - sin * x) + warp)
        result = (along * across, np.minimum(along, across), along + across)[kind - 1]
    if rng.random() < 0.4:  # hard edges
        result = np.clip(4 * result, -1, 1)
    return result


def relief_atlas(size: int, rng: np.random.Generator) -> np.ndarray:
    """Worn relief from which many coins take their piece. (size, size) float32, about -1..1.

    Strokes, arcs and blobs stand for struck figures and letters; noise for wear.
    """
    strokes = np.zeros((size, size), np.uint8)
    for _ in range(size * size // 500):
        centre = tuple(int(c) for c in rng.integers(0, size, 2))
        axes = tuple(int(a) for a in rng.integers(2, 13, 2))
        start = int(rng.integers(360))
        thick = int(rng.integers(1, 4)) if rng.random() < 0.8 else -1
        cv2.ellipse(
            strokes,
            centre,
            axes,
            int(rng.integers(180)),
            start,
            start + int(rng.integers(60, 361)),
            int(rng.integers(60, 256)),
            thick,
        )
    relief = cv2.GaussianBlur(strokes, (0, 0), 0.75).astype(np.float32) / 128.0 - 0.5
    return relief + np.float32(0.4) * smooth_noise((size, size), (8.0, 4.0, 2.0), rng, 0.9)


def background(
    size: tuple[int, int], dark: float, bright: float, rng: np.random.Generator
) -> np.ndarray:
    """What the objects lie on. (H, W) float32 brightness.

    Args:
        size: (height, width).
        dark: brightness where the least light falls, 0..1.
        bright: brightness where the most light falls.
        rng: source of randomness.
    """
    light = light_field(size, rng) ** np.float32(rng.uniform(0.7, 2.0))
    ground = np.float32(dark) + np.float32(bright - dark) * light
    mottle = smooth_noise(size, (2.0, 5.0, 14.0, 40.0), rng, rng.uniform(0.6, 1.4))
    texture = np.float32(rng.choice([0.02, 0.06, 0.15], p=[0.4, 0.4, 0.2])) * mottle
    if rng.random() < 0.25:
        texture += np.float32(rng.uniform(0.02, 0.25)) * pattern(size, rng)
    return ground * (1 + texture) + np.float32(0.15) * texture


def add_marks(picture: np.ndarray, rng: np.random.Generator) -> None:
    """Paints dust, scratches, faint arcs and a dark frame into a background, in place."""
    height, width = picture.shape
    extent = np.array([width, height])
    for _ in range(rng.integers(0, 40) if rng.random() < 0.6 else 0):  # dust
        centre = tuple(int(c) for c in rng.integers(0, extent))
        shade = float(picture[centre[1], centre[0]] + rng.normal(0.12, 0.12))
        cv2.circle(picture, centre, int(rng.integers(0, 2)), shade, -1)
    for _ in range(rng.integers(0, 4)):  # scratches
        start = rng.integers(0, extent)
        end = start + rng.normal(0, 0.2 * width, 2).astype(int)
        shade = float(picture[start[1], start[0]] + rng.normal(0, 0.08))
        cv2.line(picture, start.tolist(), end.tolist(), shade, 1, cv2.LINE_8)
    if rng.random() < 0.3:  # edge of a large stain or sheet
        veil = np.zeros(picture.shape, np.uint8)
        radius = int(rng.uniform(0.5, 1.5) * width)
        cv2.circle(veil, rng.integers(-width, 2 * width, 2).tolist(), radius, 255, -1)
        amount = np.float32(rng.normal(0, 0.2) / 255)
        picture *= 1 + amount * cv2.GaussianBlur(veil, (0, 0), rng.uniform(1, 4))
    if rng.random() < 0.1:  # dark rounded frame, as of a plate or a slide
        inset = rng.uniform(-0.03, 0.05, 2) * width
        distance = _rounded_frame(picture.shape, float(rng.uniform(0.05, 0.3)) * width, inset)
        picture *= np.clip(0.5 - distance, 0.05, 1)


def _rounded_frame(size: tuple[int, int], corner: float, inset: np.ndarray) -> np.ndarray:
    """Signed distance (H, W) to a rounded rectangle, positive outside."""
    height, width = size
    y = np.abs(np.arange(height, dtype=np.float32) - height / 2)[:, None]
    x = np.abs(np.arange(width, dtype=np.float32) - width / 2)[None]
    dy = np.maximum(y - (height / 2 - inset[0] - corner), 0)
    dx = np.maximum(x - (width / 2 - inset[1] - corner), 0)
    return np.sqrt(dx * dx + dy * dy).astype(np.float32) - np.float32(corner)
