"""Label images: pictures whose pixel values are the numbers of the objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kmrcnn.data.example import MaskCrop
from kmrcnn.data.images import read_size
from kmrcnn.structures.masks import mask_to_rle

_SINGLE_BAND_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")


def read_label_image(path: str | Path) -> np.ndarray:
    """Reads the pixel values of a label image as they are stored.

    Args:
        path: A grey picture of 1, 8, 16 or 32 bits, or one with a palette, whose indices are read.

    Returns:
        (H, W) int32.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no picture, or a colour picture; names the file.
    """
    read_size(path)  # says what is wrong with a file that is no picture
    try:
        with Image.open(path) as image:
            if image.mode not in _SINGLE_BAND_MODES:
                raise ValueError(
                    f"{path} is no label image: it must be grey or have a palette. "
                    f"Received: mode {image.mode}"
                )
            return np.array(image).astype(np.int32)
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path} cannot be read, it may be damaged: {error}") from error


def split_labels(labels: np.ndarray, ignored: tuple[int, ...] = (0,)) -> dict[int, MaskCrop]:
    """Cuts out the object of each number.

    Args:
        labels: (H, W) integers.
        ignored: Numbers that are no object.

    Returns:
        Number -> mask in its tight window, by number.
    """
    rows, columns = np.nonzero(~np.isin(labels, ignored))
    values = labels[rows, columns]
    order = np.argsort(values, kind="stable")
    numbers, starts = np.unique(values[order], return_index=True)
    crops = {}
    for number, members in zip(numbers.tolist(), np.split(order, starts[1:])):
        crops[number] = _crop_of(rows[members], columns[members])
    return crops


def compact_mask(mask: MaskCrop | np.ndarray, size: tuple[int, int]) -> dict[str, Any]:
    """Run lengths of a mask: what a dataset in memory keeps of it."""
    return mask_to_rle(mask.to_full(size) if isinstance(mask, MaskCrop) else mask)


def _crop_of(rows: np.ndarray, columns: np.ndarray) -> MaskCrop:
    top, left = int(rows.min()), int(columns.min())
    bitmap = np.zeros((int(rows.max()) - top + 1, int(columns.max()) - left + 1), bool)
    bitmap[rows - top, columns - left] = True
    return MaskCrop(bitmap, top, left)
