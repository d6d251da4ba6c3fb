"""Original picture to network frame, as the two reference systems do it."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from kmrcnn.config.schema import InputConfig


def network_size(image_size: tuple[int, int], config: InputConfig) -> tuple[int, int]:
    """(height, width) of a picture of `image_size` after resizing.

    The shorter side becomes `short_side` (or stays, if it is longer already and `enlarge_only`),
    unless the longer one would exceed `long_side`.

    Raises:
        ValueError: A side would shrink to nothing.
    """
    short, long = min(image_size), max(image_size)
    goal = max(config.short_side, short if config.enlarge_only else 0, short * config.min_scale)
    scale = goal / short
    if config.size_rounding == "floor":  # torchvision: one scale, rounded down
        scale = min(scale, config.long_side / long)
        size = tuple(math.floor(side * scale) for side in image_size)
    elif config.size_rounding == "half_even":  # Matterport: one scale, rounded
        if round(long * scale) > config.long_side:
            scale = config.long_side / long
        size = tuple(round(side * scale) for side in image_size)
    else:  # Detectron2: the short side is exact, the other rounded half up
        sides = [goal if side == short else side * scale for side in image_size]
        if max(sides) > config.long_side:
            shrink = config.long_side / max(sides)
            sides = [side * shrink for side in sides]
        size = tuple(int(side + 0.5) for side in sides)
    if min(size) < 1:
        raise ValueError(
            f"The image is too elongated: {image_size[0]} x {image_size[1]} (height x width) "
            "pixels become "
            f"{size[0]} x {size[1]} when the longer side is limited to {config.long_side}."
        )
    return size


def to_network(image: np.ndarray, config: InputConfig) -> np.ndarray:
    """Reorder the channels and resize: (h, w, C) float32, 0-255, in the order the network wants.

    Args:
        image: (H, W, C), RGB for three channels, 0-255, uint8 or float32.
        config: Target size and filter.
    """
    size = network_size(image.shape[:2], config)
    if config.channel_order == "bgr":
        image = image[:, :, ::-1]
    if config.resize == "antialiased_uint8":
        return _resize_pillow(image, size)
    if config.resize == "black_border_uint8":
        return _resize_black_border(image, size)
    return _resize_bilinear(np.asarray(image, np.float32), size)


def pad_to_canvas(images: list[np.ndarray], multiple: int) -> tuple[np.ndarray, np.ndarray]:
    """One batch from pictures of different sizes.

    Args:
        images: (h, w, C) each.
        multiple: Height and width of the canvas are multiples of this.

    Returns:
        images (B, H, W, C) float32 with zeros below and on the right, image_sizes (B, 2) int32.
    """
    sizes = np.array([image.shape[:2] for image in images], np.int32)
    height, width = canvas_size(sizes.max(0), multiple)
    canvas = np.zeros((len(images), height, width, images[0].shape[2]), np.float32)
    for target, image in zip(canvas, images):
        target[: image.shape[0], : image.shape[1]] = image
    return canvas, sizes


def canvas_size(size: tuple[int, int], multiple: int) -> tuple[int, int]:
    """(height, width) rounded up to a multiple."""
    return tuple(-(-int(side) // multiple) * multiple for side in size)


def _resize_bilinear(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Half-pixel bilinear, no antialiasing; sample points in float32 as torch computes them
    (OpenCV's differ by 1e-5).
    """
    for axis, length in enumerate(size):
        available = image.shape[axis]
        if available == length:
            continue
        steps = np.arange(length, dtype=np.float32) + np.float32(0.5)
        position = np.maximum(np.float32(available / length) * steps - np.float32(0.5), 0)
        low = np.minimum(position.astype(np.int64), available - 1)
        high = np.minimum(low + 1, available - 1)
        fraction = np.expand_dims(
            position - low.astype(np.float32), (1, 2) if axis == 0 else (0, 2)
        )
        at_low = np.take(image, low, axis)
        image = at_low + (np.take(image, high, axis) - at_low) * fraction
    return image


def _resize_black_border(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Half-pixel bilinear, no antialiasing, blended with 0 beyond the border as scikit-image does
    by default; values leave the picture's range nowhere, and uint8 is cut to whole numbers.
    """
    if tuple(size) == image.shape[:2]:
        return np.asarray(image, np.float32)
    resized = np.asarray(image, np.float64)
    for axis, length in enumerate(size):
        available = resized.shape[axis]
        position = (np.arange(length) + 0.5) * (available / length) - 0.5
        low = np.floor(position).astype(np.int64)
        fraction = np.expand_dims(position - low, (1, 2) if axis == 0 else (0, 2))
        padded = np.pad(resized, [(1, 1) if i == axis else (0, 0) for i in range(3)])
        at_low, at_high = np.take(padded, low + 1, axis), np.take(padded, low + 2, axis)
        resized = at_low * (1 - fraction) + at_high * fraction
    resized = np.clip(resized, image.min(), image.max())
    return (np.trunc(resized) if image.dtype == np.uint8 else resized).astype(np.float32)


def _resize_pillow(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pillow's antialiased bilinear filter, rounded to uint8 (float input stays float)."""
    if image.dtype != np.uint8:
        image = np.asarray(image, np.float32)
    channels = image.shape[2]
    # not four: Pillow would take the last one for transparency and weight the others by it
    whole = image.dtype == np.uint8 and channels in (1, 3)
    planes = [np.squeeze(image, 2) if channels == 1 else image]
    if not whole:
        planes = [image[:, :, c] for c in range(channels)]
    resized = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(p)).resize(size[::-1], Image.Resampling.BILINEAR)
        )
        for p in planes
    ]
    return np.dstack(resized).astype(np.float32)
