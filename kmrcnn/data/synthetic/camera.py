"""From brightness to a photograph: uneven light, halos, blur, exposure, grain and compression."""

from __future__ import annotations

import cv2
import numpy as np

from kmrcnn.data.synthetic import textures

_BLOCK = 8  # pixels of a compression block


def photograph(scene: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Takes a picture of a scene.

    Args:
        scene: (H, W) or (H, W, 3) float32 brightness, about 0..1. Not kept.
        rng: source of randomness.

    Returns:
        uint8 of the same shape.
    """
    scene = _uneven_light(scene, rng)
    if rng.random() < 0.4:  # sharpening with halos, as of old prints and scanners
        wide = cv2.GaussianBlur(scene, (0, 0), rng.uniform(1.0, 8.0))
        scene = scene + np.float32(rng.uniform(0.2, 1.3)) * (scene - wide)
    scene = _soften(scene, rng)
    scene = _expose(scene, rng)
    grain = rng.choice([0.004, 0.015, 0.035, 0.07], p=[0.3, 0.4, 0.25, 0.05])
    noise = rng.standard_normal(scene.shape, dtype=np.float32)
    if rng.random() < 0.5:
        noise = 2 * cv2.blur(noise, (2, 2))
    scene = 255 * (scene + np.float32(grain) * noise)
    if rng.random() < 0.3:
        scene = _compress(scene, float(rng.uniform(1, 10)))
    return np.clip(np.rint(scene), 0, 255).astype(np.uint8)


def _uneven_light(scene: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Multiplies by a light field and adds a veil of glare, or leaves the scene alone."""
    if rng.random() < 0.4:
        return scene
    light = textures.light_field(scene.shape[:2], rng)
    light = light if scene.ndim == 2 else light[:, :, None]
    strength = np.float32(rng.uniform(0, 0.8))
    glare = np.float32(rng.choice([0.0, 0.1, 0.25]))
    return scene * (1 + strength * (light - np.float32(0.6))) + glare * light


def _soften(scene: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blurs by optics, or by a lower resolution."""
    if rng.random() < 0.2:
        height, width = scene.shape[:2]
        scale = rng.uniform(0.5, 1.0)
        small = (max(1, round(width * scale)), max(1, round(height * scale)))
        scene = cv2.resize(scene, small, interpolation=cv2.INTER_AREA)
        return cv2.resize(scene, (width, height), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.7:
        return cv2.GaussianBlur(scene, (0, 0), 0.3 + abs(rng.normal(0, 0.45)))
    return scene


def _expose(scene: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Meters the highlights, then offset and tone curve; now and then a negative."""
    white = np.float32(max(np.quantile(scene[::4, ::4], 0.98), 0.01))
    scene = scene * np.clip(np.float32(rng.uniform(0.45, 1.1)) / white, 0.3, 3)
    scene = np.clip(scene + np.float32(rng.normal(0, 0.04)), 0, 1)
    scene **= np.float32(np.exp(rng.normal(0, 0.25)))
    return 1 - scene if rng.random() < 0.03 else scene


def _compress(picture: np.ndarray, strength: float) -> np.ndarray:
    """Rounds the cosine transform of 8 x 8 blocks, as JPEG does; the same on every machine."""
    if picture.ndim == 3:
        channels = [_compress(picture[:, :, c], strength) for c in range(picture.shape[2])]
        return np.stack(channels, axis=2)
    height, width = picture.shape
    below, right = -height % _BLOCK, -width % _BLOCK
    padded = np.pad(picture, ((0, below), (0, right)), mode="edge")
    order = np.arange(_BLOCK)
    basis = np.cos(np.pi * order[:, None] * (2 * order[None] + 1) / (2 * _BLOCK)) / 2
    basis[0] /= np.sqrt(2)
    basis = basis.astype(np.float32)  # (frequency, pixel)
    rows, columns = padded.shape[0] // _BLOCK, padded.shape[1] // _BLOCK
    step = (strength * (1 + order[:, None] + order[None])).astype(np.float32)[:, None, :]
    # Stacks of small products: one large product would wake all threads of the BLAS library.
    spectrum = np.matmul(basis, padded.reshape(rows, _BLOCK, -1))
    spectrum = np.matmul(spectrum.reshape(-1, columns, _BLOCK), basis.T)
    spectrum = spectrum.reshape(rows, _BLOCK, columns, _BLOCK)
    spectrum = np.rint(spectrum / step) * step
    restored = np.matmul(basis.T, spectrum.reshape(rows, _BLOCK, -1))
    restored = np.matmul(restored.reshape(-1, columns, _BLOCK), basis).reshape(padded.shape)
    return restored[:height, :width]
