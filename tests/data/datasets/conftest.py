"""Tiny pictures for tiny datasets."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def save_picture():
    """Writes a picture of (height, width), grey noise, and gives its path."""

    def save(path: Path, size=(20, 30), seed=0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(path)
        return path

    return save


@pytest.fixture
def save_labels():
    """Writes a label image from an array of integers, 8 or 16 bits, and gives its path."""

    def save(path: Path, labels: np.ndarray, dtype=np.uint8) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(labels.astype(dtype)).save(path)
        return path

    return save


@pytest.fixture
def problem_kinds():
    """Kinds of a dataset's problems, sorted."""
    return lambda dataset: sorted(problem.kind for problem in dataset.problems)
