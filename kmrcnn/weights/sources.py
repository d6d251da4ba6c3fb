"""The systems whose weight files are understood, and which of them a file came from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kmrcnn.weights.detectron2 import DETECTRON2
from kmrcnn.weights.imagenet import IMAGENET
from kmrcnn.weights.matterport import MATTERPORT
from kmrcnn.weights.name_map import Source
from kmrcnn.weights.native import NATIVE
from kmrcnn.weights.torchvision import TORCHVISION

SOURCES = {
    source.name: source for source in (TORCHVISION, DETECTRON2, MATTERPORT, IMAGENET, NATIVE)
}


def find_source(tensors: Mapping[str, np.ndarray], format: str | None = None) -> Source:
    """Whose names a file's tensors bear.

    Args:
        tensors: The file's keys and arrays.
        format: A name of `SOURCES`, or None to tell from the keys.

    Raises:
        ValueError: Unknown format, or keys of none of them.
    """
    if format is not None:
        if format not in SOURCES:
            raise ValueError(f"`format` must be one of {list(SOURCES)}. Received: {format!r}")
        return SOURCES[format]
    for source in SOURCES.values():
        if any(key in tensors for key in source.signature):
            return source
    raise ValueError(
        f"The file's names are of none of {list(SOURCES)}. It begins with: "
        f"{', '.join(sorted(tensors)[:5])}"
    )
