"""Masks cut to their windows: what an instance takes in memory does not depend on the picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from kmrcnn.structures.masks import mask_to_polygons


@dataclass(frozen=True, eq=False)
class MaskCrop:
    """The mask of one instance, cut to the window around it.

    Attributes:
        bitmap: (h, w) bool, True inside the instance.
        top: row of the window's first pixel in the image.
        left: column of the window's first pixel in the image.
    """

    bitmap: np.ndarray
    top: int
    left: int

    def __post_init__(self):
        if self.bitmap.ndim != 2 or self.bitmap.dtype != bool:
            raise ValueError(
                "`bitmap` must be a (h, w) bool array. "
                f"Received: shape {self.bitmap.shape}, dtype {self.bitmap.dtype}"
            )

    @classmethod
    def from_full(cls, mask: np.ndarray) -> MaskCrop:
        """Cuts a mask (H, W) bool to its tight window; an empty mask gives a (0, 0) bitmap."""
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if rows.size == 0:
            return cls(np.zeros((0, 0), bool), 0, 0)
        top, left = int(rows[0]), int(columns[0])
        return cls(mask[top : rows[-1] + 1, left : columns[-1] + 1].astype(bool), top, left)

    def to_full(self, size: tuple[int, int]) -> np.ndarray:
        """The mask (H, W) bool in an image of size (height, width)."""
        mask = np.zeros(size, bool)
        mask[self.slices()] = self.bitmap
        return mask

    def to_rle(self, size: tuple[int, int]) -> dict[str, Any]:
        """Run lengths as `mask_to_rle` gives them for the mask in an image of (height, width)."""
        height, width = size
        rows, columns = self.bitmap.shape
        strip = np.zeros((columns, height), bool)  # column by column, as the runs go
        strip[:, self.top : self.top + rows] = self.bitmap.T
        changes = np.flatnonzero(np.diff(strip.ravel(), prepend=False, append=False))
        edges = np.concatenate([[0], changes + self.left * height, [height * width]])
        lengths = np.diff(edges)
        if lengths[-1] == 0 and len(lengths) > 1:  # the mask holds the very last pixel
            lengths = lengths[:-1]
        runs = {"size": [height, width], "counts": lengths.tolist()}
        counts = coco_mask.frPyObjects(runs, height, width)["counts"]
        return {"size": [int(height), int(width)], "counts": counts.decode("ascii")}

    def to_polygons(self, tolerance: float = 0.0, min_area: float = 4.0) -> list[np.ndarray]:
        """Outlines as `mask_to_polygons` gives them, in the pixels of the image."""
        offset = np.array([self.left, self.top], np.float32)
        return [part + offset for part in mask_to_polygons(self.bitmap, tolerance, min_area)]

    def box(self) -> np.ndarray:
        """The window (4,) float32, xyxy; tight where the bitmap is."""
        height, width = self.bitmap.shape
        corners = (self.left, self.top, self.left + width, self.top + height)
        return np.array(corners, np.float32)

    def slices(self) -> tuple[slice, slice]:
        """Rows and columns of the window in the image."""
        height, width = self.bitmap.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def moved(self, rows: int, columns: int) -> MaskCrop:
        """The same mask in an image whose first pixel lies so much before."""
        return MaskCrop(self.bitmap, self.top + rows, self.left + columns)


class CroppedMasks:
    """D masks (H, W) as crops: a sequence that stands for the array (D, H, W) bool.

    ``masks[3]`` is a full mask (H, W), made when asked for; ``masks[1:5]``, ``masks[keep]`` and
    ``masks[[3, 1]]`` are `CroppedMasks` again; ``np.asarray(masks)`` is the whole array, which huge
    pictures leave no room for. The crops are kept as run lengths, some hundred bytes each.

    Args:
        crops: The masks, inside the image.
        image_size: (height, width).

    Raises:
        ValueError: A crop sticks out of the image.
    """

    dtype = np.dtype(bool)
    ndim = 3

    def __init__(self, crops: Iterable[MaskCrop], image_size: tuple[int, int]):
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self._kept = [self._encode(crop) for crop in crops]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W)."""
        return (len(self), *self.image_size)

    def crop(self, index: int) -> MaskCrop:
        """Gives one mask in its window."""
        rle, top, left = self._kept[index]
        return MaskCrop(coco_mask.decode(rle).astype(bool), top, left)

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: Any) -> np.ndarray | CroppedMasks:
        if isinstance(index, (int, np.integer)):
            return self.crop(index).to_full(self.image_size)
        part = CroppedMasks([], self.image_size)
        part._kept = [self._kept[i] for i in np.arange(len(self))[index]]
        return part

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        full = np.zeros(self.shape, bool)
        for index, mask in enumerate(full):
            crop = self.crop(index)
            mask[crop.slices()] = crop.bitmap
        return full if dtype is None else full.astype(dtype)

    def __repr__(self) -> str:
        return f"CroppedMasks({len(self)} of {self.image_size[0]}x{self.image_size[1]} px)"

    def _encode(self, crop: MaskCrop) -> tuple[dict[str, Any], int, int]:
        height, width = self.image_size
        rows, columns = crop.slices()
        if rows.start < 0 or columns.start < 0 or rows.stop > height or columns.stop > width:
            raise ValueError(
                f"`crops` must lie inside the image of size {self.image_size}. Received: rows "
                f"{rows.start}..{rows.stop}, columns {columns.start}..{columns.stop}"
            )
        return coco_mask.encode(np.asfortranarray(crop.bitmap, np.uint8)), crop.top, crop.left
