"""Objects of another picture pasted in (Ghiasi et al. 2021, "Simple Copy-Paste", section 3).

Pasted objects are not blended in; the paper finds that it makes no difference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kmrcnn.data.augment.crop import move_mask
from kmrcnn.data.augment.objects import tightened, unlabel_outside
from kmrcnn.data.example import Example, MaskCrop

SELECTED = 0.5  # share of the other picture's objects that are pasted
MIN_VISIBLE = 10  # pixels; objects that keep fewer below the pasted ones are dropped


@dataclass(frozen=True)
class CopyPaste:
    """Pastes a random choice of another example's objects, that example lying anywhere.

    Args:
        draw_other: Gives the other example for a random generator, augmented on its own.
        probability: Chance of a paste, 0..1.
    """

    draw_other: Callable[[np.random.Generator], Example]
    probability: float = 1.0

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        if rng.random() >= self.probability:
            return example
        other = self.draw_other(rng)
        room = np.array(example.size) - other.size
        down, right = (int(rng.integers(min(0, r), max(0, r) + 1)) for r in room)
        chosen = np.flatnonzero((rng.random(len(other.boxes)) < SELECTED) & ~other.is_crowd)
        return paste(example, other, chosen, down, right)


def paste(example: Example, other: Example, chosen: np.ndarray, down: int, right: int) -> Example:
    """The example with `chosen` objects of the other on top, shifted by (`down`, `right`) pixels.

    Objects below lose what is covered; where they lose something, their boxes are drawn anew, and
    those left with fewer than `MIN_VISIBLE` pixels go.

    Raises:
        ValueError: One of the two has no masks, or only one has key points.
    """
    _check(example, other)
    moved = {i: tightened(move_mask(other.masks[i], down, right, example.size)) for i in chosen}
    moved = {i: mask for i, mask in moved.items() if mask.bitmap.size}
    if not moved:
        return example
    covered = np.zeros(example.size, bool)
    for mask in moved.values():
        covered[_place(mask)] |= mask.bitmap
    below, boxes, kept = _cut(example, covered)
    pasted = np.array(list(moved), int)
    boxes_above = np.array([mask.box() for mask in moved.values()], np.float32)
    return Example(
        _pasted_image(example.image, other.image, covered, down, right),
        np.concatenate([boxes[kept], boxes_above]),
        np.concatenate([example.classes[kept], other.classes[pasted]]),
        (*(below[i] for i in kept), *moved.values()),
        np.concatenate([example.is_crowd[kept], other.is_crowd[pasted]]),
        image_id=example.image_id,
        keypoints=_join_keypoints(example, kept, covered, other, pasted, (down, right)),
    )


def _check(example: Example, other: Example) -> None:
    for one in (example, other):
        if one.masks is None:
            raise ValueError(
                f"Copy-paste cuts objects out by their masks; example {one.image_id!r} has none."
            )
    if (example.keypoints is None) != (other.keypoints is None):
        raise ValueError(
            "Copy-paste needs key points in both examples or in neither. Received: "
            f"{example.image_id!r} and {other.image_id!r}"
        )


def _place(mask: MaskCrop) -> tuple[slice, slice]:
    """The window of a mask, as an index of its picture."""
    height, width = mask.bitmap.shape
    return slice(mask.top, mask.top + height), slice(mask.left, mask.left + width)


def _cut(example: Example, covered: np.ndarray) -> tuple[list[MaskCrop], np.ndarray, np.ndarray]:
    """Masks and boxes (N, 4) of what is not covered, and the indices of the objects that stay."""
    masks, boxes, kept = [], example.boxes.copy(), []
    for index, mask in enumerate(example.masks):
        visible = mask.bitmap & ~covered[_place(mask)]
        left = int(visible.sum())
        untouched = left == int(mask.bitmap.sum())
        masks.append(mask if untouched else tightened(MaskCrop(visible, mask.top, mask.left)))
        if not untouched:
            boxes[index] = masks[index].box()
        if untouched or left >= MIN_VISIBLE:
            kept.append(index)
    return masks, boxes, np.array(kept, int)


def _pasted_image(
    below: np.ndarray, above: np.ndarray, covered: np.ndarray, down: int, right: int
) -> np.ndarray:
    image = below.copy()
    rows, columns = np.nonzero(covered)
    image[rows, columns] = above[rows - down, columns - right]
    return image


def _join_keypoints(
    example: Example,
    kept: np.ndarray,
    covered: np.ndarray,
    other: Example,
    pasted: np.ndarray,
    offset: tuple[int, int],
) -> np.ndarray | None:
    """Points of both; visible ones that are covered now become hidden."""
    if example.keypoints is None:
        return None
    below = example.keypoints[kept].copy()
    height, width = example.size
    columns = np.clip(below[..., 0].astype(int), 0, width - 1)
    rows = np.clip(below[..., 1].astype(int), 0, height - 1)
    below[(below[..., 2] == 2) & covered[rows, columns], 2] = 1
    above = other.keypoints[pasted] + np.array([offset[1], offset[0], 0], np.float32)
    return np.concatenate([below, unlabel_outside(above, example.size)])
