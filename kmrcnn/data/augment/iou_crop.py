"""Windows that overlap an object well (Liu et al. 2016, "SSD", section 2.2, data augmentation)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kmrcnn.data.augment.crop import crop
from kmrcnn.data.example import Example


@dataclass(frozen=True)
class IoUCrop:
    """Draws how well a window must overlap, then windows, until one overlaps every object whose
    centre it holds that well, and holds one at least.

    DIFFERS from SSD: objects of which a part stays are kept even if their centre is outside, since
    that part can be seen.

    Args:
        least_ious: Drawn from for every picture; 1 or more leaves the picture whole.
        least_side: Least share of the picture's sides, in (0, 1].
        trials: Windows tried for a drawn overlap; then another is drawn.
        rounds: Overlaps drawn; then the picture is left whole.
    """

    least_ious: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
    least_side: float = 0.3
    trials: int = 40
    rounds: int = 5

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        boxes = example.boxes[~example.is_crowd]
        if len(boxes) == 0:
            return example
        for _ in range(self.rounds):
            least_iou = rng.choice(self.least_ious)
            if least_iou >= 1:
                return example
            window = self._find_window(example.size, boxes, least_iou, rng)
            if window is not None:
                left, top, right, bottom = window
                return crop(example, top, left, (bottom - top, right - left))
        return example

    def _find_window(
        self,
        size: tuple[int, int],
        boxes: np.ndarray,
        least_iou: float,
        rng: np.random.Generator,
    ) -> tuple[int, ...] | None:
        """Whole-pixel xyxy, or None."""
        for _ in range(self.trials):
            sides = np.maximum(1, size * rng.uniform(self.least_side, 1, size=2)).astype(int)
            if not 0.5 <= sides[0] / sides[1] <= 2:
                continue
            top, left = rng.integers(0, size - sides + 1)
            window = np.array([left, top, left + sides[1], top + sides[0]])
            centres = (boxes[:, :2] + boxes[:, 2:]) / 2
            held = ((centres > window[:2]) & (centres < window[2:])).all(axis=1)
            if held.any() and _ious(window, boxes[held]).min() >= least_iou:
                return tuple(int(side) for side in window)
        return None


def _ious(window: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union (N,) of one box (4,) with others (N, 4)."""
    sides = np.minimum(window[2:], boxes[:, 2:]) - np.maximum(window[:2], boxes[:, :2])
    shared = np.maximum(sides, 0).prod(axis=1)
    union = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (window[2:] - window[:2]).prod() - shared
    return shared / np.maximum(union, 1e-12)
