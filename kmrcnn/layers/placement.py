"""Where the network sees a picture on its canvas, and what its boxes count from.

Outside the model a picture lies in the canvas's upper left corner, and boxes count from there and
end at the edge after their last pixel. A placement takes pictures and boxes into the network's own
arrangement, the canvas frame, and detections out of it.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import keras
from keras import ops

from kmrcnn.structures.typing import Tensor


class Placed(NamedTuple):
    """Pictures on their canvas as the network sees them."""

    images: Tensor  # (B, H, W, C), 0-255
    content: Tensor  # (B, 2) int32, (height, width) of what is normalised; beyond it are zeros
    # where boxes may lie, canvas frame: (B, 2) or (B, 4) as `boxes.clip` takes them
    proposal_limits: Tensor
    detection_limits: Tensor


class CornerPlacement:
    """Pictures and boxes stay as they are."""

    def __call__(self, images: Tensor, image_sizes: Tensor) -> Placed:
        return Placed(images, image_sizes, image_sizes, image_sizes)

    def enter(self, targets: dict[str, Tensor], placed: Placed) -> dict[str, Tensor]:
        """Targets in the canvas frame."""
        return targets

    def leave(self, detections: dict[str, Tensor], placed: Placed) -> dict[str, Tensor]:
        """Detections, or proposals, counted from the picture's corner."""
        return detections


class CentrePlacement:
    """Pictures in the middle of the canvas, the odd pixel of padding below and on the right.

    The padding is black, and normalised as the picture is. Proposals may lie anywhere on the
    canvas, detections within the picture (Matterport's Mask R-CNN).

    Args:
        box_ends: What x2 and y2 are in the canvas frame: the edge after a box's last pixel, or that
            pixel's number.
    """

    def __init__(self, box_ends: Literal["edge", "last_pixel"] = "edge"):
        self.shorter = 1.0 if box_ends == "last_pixel" else 0.0
        self.move = _MoveToCentre(self.shorter, name="move_to_centre")

    def __call__(self, images: Tensor, image_sizes: Tensor) -> Placed:
        return Placed(**self.move(images, image_sizes))

    def enter(self, targets: dict[str, Tensor], placed: Placed) -> dict[str, Tensor]:
        """Targets in the canvas frame."""
        moved = {
            name: targets[name] + self._shift(placed)
            for name in ("boxes", "mask_windows")
            if name in targets
        }
        return targets | moved

    def leave(self, detections: dict[str, Tensor], placed: Placed) -> dict[str, Tensor]:
        """Detections, or proposals, counted from the picture's corner; unused slots stay 0."""
        boxes = detections["boxes"] - self._shift(placed)
        used = ops.expand_dims(detections["valid"], -1)
        return detections | {"boxes": ops.where(used, boxes, 0.0)}

    def _shift(self, placed: Placed) -> Tensor:
        """(B, 1, 4): canvas frame minus the frame outside."""
        corner = placed.detection_limits[:, :2]
        return ops.expand_dims(ops.concatenate([corner, corner - self.shorter], axis=-1), 1)


class _MoveToCentre(keras.layers.Layer):
    """Images (B, H, W, C) with the picture in the corner -> the fields of `Placed`."""

    def __init__(self, shorter: float, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.shorter = shorter

    def call(self, images, image_sizes):
        height, width = (ops.cast(n, "int32") for n in ops.shape(images)[1:3])
        sizes = ops.cast(image_sizes, "int32")
        top, left = (height - sizes[:, 0]) // 2, (width - sizes[:, 1]) // 2
        moved = ops.swapaxes(_roll(images, top, height), 1, 2)
        moved = ops.swapaxes(_roll(moved, left, width), 1, 2)
        canvas = ops.zeros_like(sizes) + ops.stack([height, width])
        corner = ops.cast(ops.stack([left, top], axis=-1), "float32")
        far = corner + ops.cast(ops.stack([sizes[:, 1], sizes[:, 0]], axis=-1), "float32")
        return {
            "images": moved,
            "content": canvas,
            "proposal_limits": ops.cast(canvas, "float32") - self.shorter,
            "detection_limits": ops.concatenate([corner, far - self.shorter], axis=-1),
        }

    def compute_output_spec(self, images, image_sizes):
        batch = images.shape[0]
        return {
            "images": keras.KerasTensor(images.shape, images.dtype),
            "content": keras.KerasTensor((batch, 2), "int32"),
            "proposal_limits": keras.KerasTensor((batch, 2), "float32"),
            "detection_limits": keras.KerasTensor((batch, 4), "float32"),
        }


def _roll(images: Tensor, number: Tensor, height: Tensor) -> Tensor:
    """Rows of (B, H, W, C) moved down by `number` (B,); the padding below comes in above."""
    batch, _, width, channels = ops.shape(images)
    index = (ops.arange(height, dtype="int32")[None, :] - number[:, None]) % height  # (B, H)
    index = index + ops.arange(batch, dtype="int32")[:, None] * height
    return ops.take(ops.reshape(images, (-1, width, channels)), index, axis=0)
