"""From the numbers of keypoint annotations to coordinates."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from kmrcnn.data.example import Example


@dataclass(frozen=True)
class KeypointOffset:
    """Moves labelled keypoints right and down; comes before transforms that mirror.

    Args:
        pixels: See `KeypointConfig.annotation_offset`.
    """

    pixels: float

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        if example.keypoints is None or not self.pixels:
            return example
        labelled = example.keypoints[..., 2:] > 0  # (N, J, 1)
        moved = example.keypoints + np.array([self.pixels, self.pixels, 0], np.float32)
        return dataclasses.replace(example, keypoints=np.where(labelled, moved, example.keypoints))
