"""Where the objects of a synthetic scene lie: centres and radii."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Layout = Callable[[tuple[int, int], tuple[float, float], int, np.random.Generator], np.ndarray]


def grid(
    size: tuple[int, int],
    radius: tuple[float, float],
    max_objects: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Rows of objects, from far apart to touching, like coins laid out for a photograph.

    Args:
        size: (height, width) of the picture.
        radius: least and largest radius in pixels.
        max_objects: at most so many.
        rng: source of randomness.

    Returns:
        (N, 3) float64: x, y, radius.
    """
    height, width = size
    typical = rng.uniform(*radius)
    spread = rng.choice([0.05, 0.15, 0.3])
    pitch = 2 * typical * (1 + rng.choice([0.0, spread]) + rng.uniform(0.0, 0.8) ** 2)
    row_pitch = pitch * rng.uniform(0.9, 1.25)
    jitter = rng.uniform(0.0, 0.12) * pitch
    lean = rng.uniform(-0.06, 0.06)
    columns, rows = width / pitch, height / row_pitch  # so many fit, and fewer are allowed
    fewer = min(1.0, (max_objects / (columns * rows)) ** 0.5)
    x = _centres(max(1, int(columns * fewer)), pitch, width, rng)
    y = _centres(max(1, int(rows * fewer)), row_pitch, height, rng)
    num_columns = len(x)
    x, y = (axis.ravel() for axis in np.meshgrid(x, y))
    if rng.random() < 0.3:  # every other row moved by half a step: hexagonal packing
        x = x + 0.5 * pitch * (np.arange(len(x)) // num_columns % 2)
    x, y = x - lean * (y - height / 2), y + lean * (x - width / 2)
    radii = np.clip(typical * (1 + rng.normal(0, spread, len(x))), *radius)
    spots = np.stack([x, y, radii], axis=1)
    spots[:, :2] += rng.normal(0, jitter, (len(x), 2))
    missing = rng.choice([0.0, 0.05, 0.3])
    return spots[rng.random(len(spots)) >= missing][:max_objects]


def scatter(
    size: tuple[int, int],
    radius: tuple[float, float],
    max_objects: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Objects dropped at random that keep a distance, from touching to far. See `grid`."""
    wanted = 1 + int(max_objects * rng.random() ** 0.7)
    low, high = _size_range(radius, rng)
    gap = rng.choice([-2.0, 0.5, 3.0, 10.0])
    spots = np.empty((0, 3))
    for x, y, r in _candidates(size, (low, high), 4 * wanted, rng):
        distance = np.hypot(spots[:, 0] - x, spots[:, 1] - y)
        if np.all(distance > spots[:, 2] + r + gap):
            spots = np.append(spots, [(x, y, r)], axis=0)
        if len(spots) == wanted:
            break
    return spots


def pile(
    size: tuple[int, int],
    radius: tuple[float, float],
    max_objects: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Objects dropped at random, one over the other. See `grid`."""
    wanted = int(rng.integers(1, max_objects + 1))
    return _candidates(size, _size_range(radius, rng), wanted, rng)


def _centres(count: int, pitch: float, length: int, rng: np.random.Generator) -> np.ndarray:
    """Evenly spaced centres (count,) within 0..length, the first anywhere it fits."""
    slack = max(length - count * pitch, 0.0)
    return pitch * (np.arange(count) + 0.5) + slack * rng.random()


def _size_range(radius: tuple[float, float], rng: np.random.Generator) -> tuple[float, float]:
    """A part of the range of radii, often narrow: things lying together tend to be alike."""
    low, high = np.sort(rng.uniform(*radius, 2))
    return (float(low), float(high)) if rng.random() < 0.7 else radius


def _candidates(
    size: tuple[int, int], radius: tuple[float, float], count: int, rng: np.random.Generator
) -> np.ndarray:
    """Centres anywhere in the picture, a few of them beyond its border. (count, 3)."""
    height, width = size
    x, y = rng.uniform(-0.03, 1.03, (2, count)) * np.array([[width], [height]])
    return np.stack([x, y, rng.uniform(*radius, count)], axis=1)
