"""Small weight files: our names and half-precision numbers in an .npz."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from kmrcnn.data.files import written_aside
from kmrcnn.weights.canonical import canonical_weights


def save_compact(model: Any, path: str | Path) -> Path:
    """Writes a model's weights as float16, compressed; `load_weights` reads the file.

    Args:
        model: A built model.
        path: The .npz to write; replaced if it exists.

    Raises:
        ValueError: A weight is too large for float16.
    """
    arrays = {name: np.asarray(v) for name, v in canonical_weights(model).items()}
    half = {name: array.astype(np.float16) for name, array in arrays.items()}
    for name, array in half.items():
        if not np.isfinite(array).all():
            raise ValueError(
                f"{name} does not fit float16. Received: max={np.abs(arrays[name]).max():g}"
            )
    path = Path(path)
    with written_aside(path) as aside:
        with open(aside, "wb") as file:
            np.savez_compressed(file, **half)
    return path
