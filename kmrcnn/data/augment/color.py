"""Colours: brightness, contrast, saturation and hue in random order, and pictures in gray."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import cv2
import numpy as np

from kmrcnn.data.example import Example

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601, of red, green and blue


@dataclass(frozen=True)
class ColorJitter:
    """Changes the colours; objects stay as they are.

    Each change is drawn on its own, and their order too. A strength s draws a factor from [1 - s,
    1 + s] (hue: a shift from [-s, s]).

    Args:
        brightness: Of a factor on all values.
        contrast: Of a factor on the distance from the mean luminance.
        saturation: Of a factor on the distance from the pixel's own gray; RGB only.
        hue: Of a shift along the colour circle, whose length is 1; RGB only.
        probability: Chance that a picture is changed, 0..1.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    probability: float = 1.0

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        if rng.random() >= self.probability:
            return example
        image = example.image.astype(np.float32)
        for name in rng.permutation(list(_CHANGES)):
            strength = getattr(self, name)
            if strength:
                middle = 0 if name == "hue" else 1
                image = _CHANGES[name](image, rng.uniform(middle - strength, middle + strength))
        return dataclasses.replace(example, image=np.rint(image).astype(np.uint8))


@dataclass(frozen=True)
class RandomGray:
    """Makes a picture gray, in as many equal channels as it has.

    Args:
        probability: Chance of it, 0..1.
    """

    probability: float = 0.1

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        if rng.random() >= self.probability:
            return example
        gray = np.rint(_gray(example.image.astype(np.float32))).astype(np.uint8)
        return dataclasses.replace(example, image=np.repeat(gray, example.image.shape[2], axis=2))


def change_brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """(H, W, C) float32, 0-255, times `factor`."""
    return _clip(image * np.float32(factor))


def change_contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """(H, W, C) float32, 0-255; 0 leaves the mean luminance, 1 the picture."""
    mean = _gray(image).mean()
    return _clip(mean + (image - mean) * np.float32(factor))


def change_saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """(H, W, 3) float32 RGB, 0-255; 0 leaves gray, 1 the picture."""
    gray = _gray(image)
    return _clip(gray + (image - gray) * np.float32(factor))


def shift_hue(image: np.ndarray, shift: float) -> np.ndarray:
    """(H, W, 3) float32 RGB, 0-255, turned by `shift` of the colour circle."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + np.float32(360 * shift)) % 360
    return _clip(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))


_CHANGES = {
    "brightness": change_brightness,
    "contrast": change_contrast,
    "saturation": change_saturation,
    "hue": shift_hue,
}


def _gray(image: np.ndarray) -> np.ndarray:
    """Luminance (H, W, 1); of other pictures than RGB, the mean of the channels."""
    if image.shape[2] == 3:
        return (image @ _LUMA)[..., None]
    return image.mean(axis=2, keepdims=True)


def _clip(image: np.ndarray) -> np.ndarray:
    return np.clip(image, 0, 255)
