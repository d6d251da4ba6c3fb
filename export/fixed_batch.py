"""Runtimes of a fixed batch size behind a function of any."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Run = Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]


def in_batches(run: Run, batch_size: int | None) -> Run:
    """Calls `run` with exactly `batch_size` pictures at a time; the last batch is filled with
    copies of its last picture, whose results are dropped. None: `run` takes any number.

    Args:
        run: (images (B, H, W, C), image_sizes (B, 2)) -> outputs with B rows each.
        batch_size: B.
    """
    if batch_size is None:
        return run

    def run_all(images: np.ndarray, image_sizes: np.ndarray) -> dict[str, np.ndarray]:
        parts = []
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size], image_sizes[start : start + batch_size]
            outputs = run(*(_filled(values, batch_size) for values in batch))
            parts.append({name: values[: len(batch[0])] for name, values in outputs.items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    return run_all


def _filled(values: np.ndarray, number: int) -> np.ndarray:
    missing = number - len(values)
    return np.concatenate([values, np.repeat(values[-1:], missing, axis=0)])
