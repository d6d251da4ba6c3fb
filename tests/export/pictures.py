"""A photograph of coins, and pictures as files."""

from __future__ import annotations

import io

import numpy as np
import skimage.data
from PIL import Image

COINS = np.repeat(skimage.data.coins()[..., None], 3, axis=2)  # (303, 384, 3) uint8


def encoded(picture: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind)
    return file.getvalue()


BAD_FILES = {
    "empty": b"",
    "text": b"some text",
    "truncated": encoded(COINS, "JPEG")[:5000],
    "20000x1": encoded(np.zeros((20000, 1, 3), np.uint8)),
}
