"""Brightness inside one synthetic object: worn coins with relief, and plainly textured shapes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from kmrcnn.data.synthetic import textures

_ATLAS_SIDE = 192  # pixels; objects take randomly turned pieces of the atlases


@dataclass(frozen=True, eq=False)
class SceneStyle:
    """What the objects of one scene have in common.

    Attributes:
        light: (2,) x, y of the direction in which slopes look bright.
        albedo: typical brightness of an object, 0..1.
        spread: how far the brightness of objects differs.
        contrast: how strongly slopes change brightness.
        relief: (side, side) float32 struck relief, see `textures.relief_atlas`.
        patches: (side, side) float32 soft stains.
        pattern: (side, side) float32 print of plain objects.
    """

    light: np.ndarray
    albedo: float
    spread: float
    contrast: float
    relief: np.ndarray
    patches: np.ndarray
    pattern: np.ndarray


def make_style(rng: np.random.Generator) -> SceneStyle:
    """A random style."""
    side = (_ATLAS_SIDE, _ATLAS_SIDE)
    turn = rng.uniform(0, 2 * np.pi)
    return SceneStyle(
        light=np.array([np.cos(turn), np.sin(turn)], np.float32),
        albedo=float(rng.uniform(0.3, 0.8)),
        spread=float(rng.choice([0.03, 0.1, 0.25])),
        contrast=float(rng.uniform(0.3, 1.5)),
        relief=textures.relief_atlas(_ATLAS_SIDE, rng),
        patches=textures.smooth_noise(side, (24.0, 10.0, 3.0), rng, 0.6),
        pattern=textures.pattern(side, rng),
    )


def coin_surface(
    coverage: np.ndarray, radius: float, style: SceneStyle, rng: np.random.Generator
) -> np.ndarray:
    """Brightness of a coin: a height map lit from one side, dark in hollows, stained and worn.

    Args:
        coverage: (h, w) float32 of its `Footprint`.
        radius: pixels.
        style: of the scene.
        rng: source of randomness.

    Returns:
        (h, w) float32 brightness, meaningful where `coverage` is not 0.
    """
    depth = _depth(coverage) / np.float32(radius)  # 0 at the edge, about 1 in the middle
    height = _height_map(depth, radius, style, rng)
    slope = _slope(height, style.light)
    contrast = np.float32(style.contrast * rng.uniform(0.6, 1.4))
    hollow = height - cv2.blur(height, (5, 5))
    stains = _piece(style.patches, coverage.shape, rng)
    albedo = _albedo(style, rng)
    shade = contrast * np.tanh(0.9 * slope) + np.float32(rng.uniform(0.1, 1.0)) * np.tanh(hollow)
    shade += np.float32(rng.uniform(0.0, 0.16)) * stains
    shade += _lobe(coverage.shape, style.light, rng)
    bright = albedo * (1 + np.float32(0.6) * shade)
    if rng.random() < 0.4:  # a worn edge shines, or lies in the dark
        line = np.exp(-((depth * np.float32(radius / rng.uniform(0.8, 2.5))) ** 2))
        bright += np.float32(rng.normal(0.08, 0.15)) * line
    return bright


def plain_surface(
    coverage: np.ndarray, radius: float, style: SceneStyle, rng: np.random.Generator
) -> np.ndarray:
    """Brightness of a flat thing: printed, stained or even, with a bevelled edge. See above."""
    bright = 1 + np.float32(rng.uniform(0.0, 0.08)) * _piece(style.patches, coverage.shape, rng)
    if rng.random() < 0.4:
        bright += np.float32(rng.uniform(0.05, 0.4)) * _piece(style.pattern, coverage.shape, rng)
    bright += _lobe(coverage.shape, style.light, rng)
    if rng.random() < 0.6:
        bevel = np.minimum(_depth(coverage), np.float32(rng.uniform(1.5, 0.15 * radius + 2)))
        bright += np.float32(rng.uniform(0.1, 0.4)) * _slope(bevel, style.light)
    return _albedo(style, rng) * bright


def _albedo(style: SceneStyle, rng: np.random.Generator) -> np.float32:
    return np.float32(np.clip(style.albedo * (1 + rng.normal(0, style.spread)), 0.06, 1.0))


def _depth(coverage: np.ndarray) -> np.ndarray:
    """Distance (h, w) float32 in pixels from the outline, 0 outside."""
    return cv2.distanceTransform((coverage >= 0.5).view(np.uint8), cv2.DIST_L2, 3)


def _height_map(
    depth: np.ndarray, radius: float, style: SceneStyle, rng: np.random.Generator
) -> np.ndarray:
    """Height (h, w) float32 of a coin in pixels: figure, rims, dome and bevelled edge."""
    inset = np.float32(rng.uniform(0.0, 0.3))
    field = np.clip((depth - inset) * 8 + np.float32(0.3), 0, 1)
    figure = np.float32(rng.uniform(0.0, 3.0)) * _piece(style.relief, depth.shape, rng)
    if rng.random() < 0.7:
        figure += np.float32(rng.uniform(0.8, 3.5)) * _portrait(depth.shape, radius, rng)
    height = field * figure
    for _ in range(rng.integers(0, 3)):  # raised or sunken rings along the edge
        ring = np.float32(rng.uniform(0.0, 0.3))
        width = np.float32(rng.uniform(0.025, 0.07))
        ridge = np.exp(-(((depth - ring) / width) ** 2))
        if rng.random() < 0.3:  # a ring of beads
            ridge *= 1 + _beads(depth.shape, rng)
        height += np.float32(rng.normal(0.8, 0.8)) * ridge
    bevel = np.float32(rng.uniform(0.03, 0.15))
    height += np.float32(rng.uniform(0.5, 2.5)) * np.minimum(depth / bevel, 1)
    height += np.float32(rng.normal(0, 0.06) * radius) * depth
    return height


def _portrait(shape: tuple[int, int], radius: float, rng: np.random.Generator) -> np.ndarray:
    """A head-like blob with strokes for hair, face or limbs. (h, w) float32, 0..2."""
    canvas = np.zeros(shape, np.uint8)
    middle = np.array(shape[::-1]) / 2
    for number in range(int(rng.integers(3, 12))):
        reach = 0.15 if number == 0 else 0.5
        centre = (middle + rng.normal(0, reach * radius, 2)).astype(int).tolist()
        scale = radius * (rng.uniform(0.3, 0.6) if number == 0 else rng.uniform(0.1, 0.5))
        axes = (int(scale) + 1, int(scale * rng.uniform(0.4, 1.0)) + 1)
        start = int(rng.integers(360))
        sweep, thick = (360, -1) if number == 0 else (int(rng.integers(60, 300)), 1)
        thick = thick if rng.random() < 0.7 else int(rng.integers(-1, 0.1 * radius + 2))
        level = int(rng.integers(60, 140) if number == 0 else rng.integers(0, 256))
        turn = int(rng.integers(180))
        cv2.ellipse(canvas, centre, axes, turn, start, start + sweep, level, thick or 1)
    return cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.6, 1.3)).astype(np.float32) / 128


def _beads(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Waves (h, w) float32 around the middle, -1..1."""
    y = np.arange(shape[0], dtype=np.float32)[:, None] - shape[0] / 2
    x = np.arange(shape[1], dtype=np.float32)[None] - shape[1] / 2
    return np.sin(np.float32(rng.integers(20, 60)) * np.arctan2(y, x, dtype=np.float32))


def _slope(height: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Slope (h, w) float32 towards the light, pixels of height per pixel."""
    across = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=float(light[0]) / 8)
    return across + cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=float(light[1]) / 8)


def _lobe(shape: tuple[int, int], light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One side bright, the other dark. (h, w) float32."""
    strength = rng.normal(0, 0.25) if rng.random() < 0.6 else 0.0
    y = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, shape[1], dtype=np.float32)[None]
    return np.float32(strength) * (light[0] * x + light[1] * y)


def _piece(atlas: np.ndarray, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A piece (h, w) of an atlas, turned, scaled and taken from a random place."""
    turn, scale = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1.6)
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    shift = rng.uniform(0, atlas.shape[0], 2)
    matrix = np.array([[cos, -sin, shift[0]], [sin, cos, shift[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(
        atlas, matrix, shape[::-1], flags=flags, borderMode=cv2.BORDER_REFLECT_101
    )
