"""Pictures that show a quantiser which values a network really has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kmrcnn.config.schema import InputConfig
from kmrcnn.data.images import find_images, read_image
from kmrcnn.export.canvas import to_canvas

LIMIT = 100  # pictures; ranges hardly move after some dozens


def calibration_canvases(
    source: str | Path | Sequence[Any],
    input_config: InputConfig,
    image_size: tuple[int, int],
    limit: int = LIMIT,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pictures as the exported network gets them, one at a time.

    The source is looked through at once, so that a wrong one fails before any work is done;
    pictures are read as they are asked for.

    Args:
        source: A folder, a file or a pattern such as `photos/**/*.jpg`; or a sequence of those and
            of arrays (H, W, C), RGB where C = 3, 0-255.
        input_config: Channels, size and filter of the model.
        image_size: (height, width) of the canvas.
        limit: At most so many pictures, evenly spread over the source.

    Returns:
        An iterator of (images (1, height, width, C) float32 RGB, image_sizes (1, 2) int32).

    Raises:
        ValueError: There are no pictures, `limit` is below 1, an array has the wrong shape or
            values; while iterating: a file is no picture.
        FileNotFoundError: There is no such file.
    """
    if limit < 1:
        raise ValueError(f"`limit` must be at least 1. Received: {limit}")
    pictures = _spread(_list_pictures(source, input_config.channels), limit)
    return (_to_inputs(picture, input_config, image_size) for picture in pictures)


def _list_pictures(source, channels: int) -> list[Path | np.ndarray]:
    """Paths that exist and arrays that fit, in order."""
    if source is None:
        raise ValueError("`calibration_images` must be a folder, paths or arrays. Received: None")
    entries = [source] if isinstance(source, (str, Path, np.ndarray)) else list(source)
    pictures: list[Path | np.ndarray] = []
    for entry in entries:
        if isinstance(entry, (str, Path)):
            pictures.extend(_existing(path) for path in find_images(entry))
        else:
            pictures.append(_checked(np.asarray(entry), channels))
    if not pictures:
        raise ValueError(f"`calibration_images` has no pictures. Received: {source!r}")
    return pictures


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"`calibration_images` names a file that is not there: {path}")
    return path


def _checked(image: np.ndarray, channels: int) -> np.ndarray:
    if image.ndim != 3 or image.shape[2] != channels or image.size == 0:
        raise ValueError(
            f"Arrays of `calibration_images` must have shape (H, W, {channels}). "
            f"Received: shape={image.shape}. A batch must be given as a list of pictures."
        )
    lowest, highest = image.min(), image.max()
    if not (lowest >= 0 and highest <= 255):  # also where they are NaN
        raise ValueError(
            "Arrays of `calibration_images` must have values in 0..255. "
            f"Received: {lowest:g}..{highest:g}"
        )
    if image.dtype.kind == "f" and 0 < highest <= 1:
        raise ValueError(
            "Arrays of `calibration_images` are on the 0-255 scale. "
            f"Received: values up to {highest:g}; multiply pictures of 0..1 by 255."
        )
    return image


def _spread(pictures: list, limit: int) -> list:
    """At most `limit` of them, at even distances: neighbours in a folder are often alike."""
    if len(pictures) <= limit:
        return pictures
    return [pictures[index * len(pictures) // limit] for index in range(limit)]


def _to_inputs(picture, input_config, image_size) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(picture, Path):
        picture = read_image(picture, input_config.channels)
    canvas, size = to_canvas(picture, input_config, image_size)
    return canvas[None], size[None]
