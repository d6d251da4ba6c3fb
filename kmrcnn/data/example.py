"""One annotated picture: what every dataset adapter yields and the training pipeline reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from kmrcnn.structures.mask_crop import MaskCrop


@dataclass(frozen=True, eq=False)
class Example:
    """A picture with N annotated instances, in the frame of that picture.

    Attributes:
        image: (H, W, C) uint8; RGB where C is 3.
        boxes: (N, 4) float32, absolute xyxy, pixel i covers [i, i + 1).
        classes: (N,) int32, 0..K-1.
        masks: N masks cut to their windows, or None where the dataset has boxes only.
        is_crowd: (N,) bool; crowds are regions to ignore. Default: all False.
        area: (N,) float32, square pixels. Default: pixels of the masks, else areas of the boxes.
        image_id: the dataset's name of the picture.
        keypoints: (N, J, 3) float32 as x, y, visibility (0 unlabelled, 1 hidden, 2 visible), or
            None.

    Raises:
        ValueError: a shape or dtype differs from the above, or a mask sticks out of the picture.
    """

    image: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    masks: Sequence[MaskCrop] | None = None
    is_crowd: np.ndarray | None = None
    area: np.ndarray | None = None
    image_id: int | str = 0
    keypoints: np.ndarray | None = None

    def __post_init__(self):
        _require_array("image", self.image, np.uint8, (None, None, None))
        _require_array("boxes", self.boxes, np.float32, (None, 4))
        count = len(self.boxes)
        if self.masks is not None:
            self._check_masks(count)
        if self.is_crowd is None:
            object.__setattr__(self, "is_crowd", np.zeros(count, bool))
        if self.area is None:
            object.__setattr__(self, "area", self._default_area())
        _require_array("classes", self.classes, np.int32, (count,))
        _require_array("is_crowd", self.is_crowd, np.bool_, (count,))
        _require_array("area", self.area, np.float32, (count,))
        if self.keypoints is not None:
            _require_array("keypoints", self.keypoints, np.float32, (count, None, 3))

    @classmethod
    def from_full_masks(
        cls, image: np.ndarray, masks: np.ndarray, classes: Iterable[int], image_id: int | str = 0
    ) -> Example:
        """Builds an example from masks (N, H, W) bool; their tight boxes become `boxes`."""
        if masks.shape[1:] != image.shape[:2]:
            raise ValueError(
                "`masks` must have shape (N, H, W) with the image's H and W. "
                f"Received: masks.shape={masks.shape}, image.shape={image.shape}"
            )
        crops = tuple(MaskCrop.from_full(mask) for mask in masks)
        boxes = np.array([crop.box() for crop in crops], np.float32).reshape(-1, 4)
        return cls(image, boxes, np.array(list(classes), np.int32), crops, image_id=image_id)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the picture."""
        return self.image.shape[0], self.image.shape[1]

    def full_masks(self) -> np.ndarray:
        """Masks (N, H, W) bool.

        Raises:
            ValueError: the example has no masks.
        """
        if self.masks is None:
            raise ValueError(f"Example {self.image_id!r} has boxes but no masks.")
        full = [crop.to_full(self.size) for crop in self.masks]
        return np.array(full, bool).reshape(-1, *self.size)

    def _default_area(self) -> np.ndarray:
        if self.masks is not None:
            return np.array([crop.bitmap.sum() for crop in self.masks], np.float32)
        sides = self.boxes[:, 2:] - self.boxes[:, :2]
        return sides[:, 0] * sides[:, 1]

    def _check_masks(self, count: int):
        if len(self.masks) != count:
            raise ValueError(
                f"`masks` must have one mask per box ({count}). Received: {len(self.masks)} masks"
            )
        height, width = self.size
        for index, crop in enumerate(self.masks):
            bottom, right = crop.top + crop.bitmap.shape[0], crop.left + crop.bitmap.shape[1]
            if crop.top < 0 or crop.left < 0 or bottom > height or right > width:
                raise ValueError(
                    f"`masks[{index}]` must lie inside the image of size {self.size}. Received: "
                    f"rows {crop.top}..{bottom}, columns {crop.left}..{right}"
                )


def _require_array(name: str, value: np.ndarray, dtype: type, shape: tuple[int | None, ...]):
    """Raises ValueError unless `value` has the dtype and the shape, where None is any length."""
    fits = (
        isinstance(value, np.ndarray)
        and value.dtype == dtype
        and value.ndim == len(shape)
        and all(want is None or have == want for have, want in zip(value.shape, shape))
    )
    if not fits:
        wanted = ", ".join("any" if length is None else str(length) for length in shape)
        received = (getattr(value, "shape", type(value).__name__), getattr(value, "dtype", None))
        raise ValueError(
            f"`{name}` must be a {np.dtype(dtype).name} array of shape ({wanted}). "
            f"Received: shape {received[0]}, dtype {received[1]}"
        )
