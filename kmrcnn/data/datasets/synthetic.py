"""Synthetic scenes with exact masks: endless training and test pictures without a download.

Worn coins and other shapes lie on textured, unevenly lit backgrounds. Everything is drawn from the
numbers of one random generator per picture, seeded by (seed, index).
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

import cv2
import numpy as np

from kmrcnn.data.example import Example, MaskCrop
from kmrcnn.data.synthetic import camera, layouts, surfaces, textures
from kmrcnn.data.synthetic.outlines import OUTLINES, Footprint, make_outline, rasterize

CLASSES = tuple(OUTLINES)  # ("coin", "rectangle", "triangle", "star", "leaf")
_MIN_SIDE = 32  # pixels
_PLAIN_COINS = 0.05  # chance of a coin without relief
_LUMINANCE = np.array([0.299, 0.587, 0.114])  # of red, green and blue
_LAYOUTS = (layouts.grid, layouts.scatter, layouts.pile)


@dataclass(frozen=True)
class SyntheticScenes(Sequence):
    """A dataset of `num_images` generated pictures; an indexable, iterable sequence of `Example`.

    Picture `i` depends on the arguments and on `i` only, not on which were made before, so it can
    be made in any order and by any number of processes. The same numbers are drawn on every
    machine; what is made of them is the same up to the rounding of its numerical libraries.

    A pixel belongs to the mask of the last drawn object that covers at least half of it. An object
    of which less than `min_visible` of the outline, or less than `min_pixels`, would show (the rest
    lying below others or outside the picture) is not drawn at all: nothing visible is unlabelled.

    Args:
        num_images: length of the dataset.
        image_size: (height, width) of each picture, at least 32 each.
        seed: of the whole dataset; give training and validation different ones.
        classes: names out of `CLASSES`; their order defines the class numbers 0..K-1.
        max_objects: most objects tried per picture.
        radius: least and largest radius, as fractions of the shorter side.
        coin_fraction: chance that a picture shows coins only (if they are among `classes`).
        empty_fraction: chance of a picture without objects.
        gray_fraction: chance of a gray picture (three equal channels).
        min_visible: least visible fraction of an outline, 0..1.
        min_pixels: least number of visible pixels, at least 1.

    Raises:
        ValueError: an argument is out of its range, or a class is unknown.
        IndexError: a picture beyond `num_images` is asked for.

    Example:
        >>> scenes = SyntheticScenes(1000, image_size=(256, 256), seed=1)
        >>> example = scenes[0]
        >>> example.image.shape, example.full_masks().shape
    """

    num_images: int
    image_size: tuple[int, int] = (256, 256)
    seed: int = 0
    classes: tuple[str, ...] = CLASSES
    max_objects: int = 30
    radius: tuple[float, float] = (0.045, 0.14)
    coin_fraction: float = 0.5
    empty_fraction: float = 0.04
    gray_fraction: float = 0.5
    min_visible: float = 0.2
    min_pixels: int = 24

    def __post_init__(self):
        if self.num_images < 0 or self.seed < 0:
            raise ValueError(
                "`num_images` and `seed` must not be negative. "
                f"Received: num_images={self.num_images}, seed={self.seed}"
            )
        if len(self.image_size) != 2 or min(self.image_size) < _MIN_SIDE:
            raise ValueError(
                f"`image_size` must be (height, width), at least {_MIN_SIDE} each. "
                f"Received: image_size={self.image_size}"
            )
        if not self.classes or len(set(self.classes) & set(CLASSES)) < len(self.classes):
            raise ValueError(
                f"`classes` must be different names out of {CLASSES}. Received: {self.classes}"
            )
        if not 0 < self.radius[0] <= self.radius[1] <= 0.5:
            raise ValueError(
                "`radius` must be (least, most) with 0 < least <= most <= 0.5. "
                f"Received: radius={self.radius}"
            )
        for name in ("coin_fraction", "empty_fraction", "gray_fraction", "min_visible"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`{name}` must be in [0, 1]. Received: {getattr(self, name)}")
        for name in ("max_objects", "min_pixels"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1. Received: {getattr(self, name)}")

    def __len__(self) -> int:
        return self.num_images

    def __getitem__(self, index: int) -> Example:
        number = operator.index(index)
        if not -self.num_images <= number < self.num_images:
            raise IndexError(
                f"`index` must lie in a dataset of {self.num_images} pictures. Received: {index}"
            )
        number %= self.num_images
        rng = np.random.default_rng((self.seed, number))
        things = self._drop_hidden(self._choose_things(rng))
        image = _paint(things, self.image_size, rng.random() < self.gray_fraction, rng)
        boxes = np.array([thing.mask.box() for thing in things], np.float32).reshape(-1, 4)
        classes = np.array([self.classes.index(thing.shape) for thing in things], np.int32)
        masks = tuple(thing.mask for thing in things)
        return Example(image, boxes, classes, masks, image_id=number)

    def _choose_things(self, rng: np.random.Generator) -> list[_Thing]:
        """Shapes, places and sizes, in the order of drawing."""
        if rng.random() < self.empty_fraction:
            return []
        coins = "coin" in self.classes and rng.random() < self.coin_fraction
        names = ("coin",) if coins else self.classes
        layout = rng.choice(_LAYOUTS, p=(0.5, 0.35, 0.15) if coins else (0.2, 0.3, 0.5))
        radius = np.array(self.radius) * min(self.image_size)
        things = []
        for x, y, r in layout(self.image_size, tuple(radius), self.max_objects, rng):
            shape = names[rng.integers(len(names))]
            footprint = rasterize(make_outline(shape, r, rng) + (x, y), margin=ceil(0.35 * r))
            things.append(_Thing(shape, r, footprint))
        return things

    def _drop_hidden(self, things: list[_Thing]) -> list[_Thing]:
        """Finds the visible masks from the topmost down, leaving out what would hardly be seen."""
        covered = np.zeros(self.image_size, bool)
        kept = []
        for thing in reversed(things):
            place, window = thing.footprint.clip(self.image_size)
            solid = thing.footprint.coverage >= 0.5
            visible = solid[window] & ~covered[place]
            if visible.sum() < max(self.min_pixels, self.min_visible * solid.sum()):
                continue
            covered[place] |= solid[window]
            crop = MaskCrop.from_full(visible)
            mask = MaskCrop(crop.bitmap, crop.top + place[0].start, crop.left + place[1].start)
            kept.append(replace(thing, mask=mask))
        return kept[::-1]


@dataclass(frozen=True, eq=False)
class _Thing:
    """One object of a scene."""

    shape: str
    radius: float  # pixels
    footprint: Footprint
    mask: MaskCrop | None = None  # of its visible part


def _paint(
    things: list[_Thing], size: tuple[int, int], gray: bool, rng: np.random.Generator
) -> np.ndarray:
    """Draws a background and the objects on it, and takes a picture. (H, W, 3) uint8."""
    style = surfaces.make_style(rng)
    scene = textures.background(size, *_ground_levels(style.albedo, rng), rng)
    textures.add_marks(scene, rng)
    tint = None if gray else np.ones((*size, 3), np.float32) * _colour(rng, 0.12)
    strength, sigma = rng.uniform(0, 0.7), rng.uniform(0.03, 0.15)
    metal, variety = _colour(rng, 0.15), rng.choice([0.0, 0.05, 0.25])
    for thing in things:
        place, window = thing.footprint.clip(size)
        coverage = thing.footprint.coverage
        if strength > 0.1:
            shadow = _shadow(coverage, thing.radius, sigma, style.light)
            scene[place] *= 1 - np.float32(strength) * shadow[window]
        plain = thing.shape != "coin" or rng.random() < _PLAIN_COINS
        make_surface = surfaces.plain_surface if plain else surfaces.coin_surface
        surface = make_surface(coverage, thing.radius, style, rng)
        least = rng.uniform(0.08, 0.25) if plain else rng.uniform(-0.1, 0.1)
        surface = _set_apart(surface, scene[place], least)
        scene[place] += coverage[window] * (surface[window] - scene[place])
        if tint is not None:
            colour = _colour(rng, 0.3) if plain else metal * _colour(rng, variety)
            tint[place] += coverage[window][..., None] * (colour - tint[place])
    if tint is None:
        return np.repeat(camera.photograph(scene, rng)[:, :, None], 3, axis=2)
    return camera.photograph(scene[:, :, None] * tint, rng)


def _ground_levels(albedo: float, rng: np.random.Generator) -> tuple[float, float]:
    """Darkest and brightest part of a background, mostly darker than the objects on it."""
    kind = rng.choice(["dark", "uneven", "any", "bright"], p=[0.3, 0.4, 0.15, 0.15])
    if kind == "any":
        return tuple(rng.uniform(0.05, 0.95, 2))
    if kind == "bright":
        return rng.uniform(0.7, 1.2) * albedo, rng.uniform(1.1, 1.9) * albedo
    dark = rng.uniform(0.03, 0.5) * albedo
    rise = rng.uniform(0.0, 0.3) if kind == "dark" else rng.uniform(0.3, 1.1)
    return dark, dark + rise * albedo


def _set_apart(surface: np.ndarray, ground: np.ndarray, least: float) -> np.ndarray:
    """Moves the brightness of a surface until it differs by `least` from what it lies on."""
    difference = float(surface.mean() - ground.mean())
    return surface + np.float32(np.copysign(max(least - abs(difference), 0.0), difference))


def _shadow(coverage: np.ndarray, radius: float, sigma: float, light: np.ndarray) -> np.ndarray:
    """Soft shadow (h, w) in the window of an object, thrown away from the light."""
    offset = -np.float32(sigma * radius) * light
    matrix = np.array([[1, 0, offset[0]], [0, 1, offset[1]]], np.float32)
    moved = cv2.warpAffine(coverage, matrix, coverage.shape[::-1])
    return cv2.GaussianBlur(moved, (0, 0), max(sigma * radius, 0.5))


def _colour(rng: np.random.Generator, spread: float) -> np.ndarray:
    """A random tint (3,) float32 of unit luminance."""
    colour = np.exp(rng.normal(0, spread, 3))
    return (colour / (colour @ _LUMINANCE)).astype(np.float32)
