"""Ground-truth masks in the frame of the RoIs."""

from __future__ import annotations

from keras import ops

from kmrcnn.custom_ops import roi_align
from kmrcnn.structures.typing import Tensor


def mask_targets(
    masks: Tensor,
    windows: Tensor,
    boxes: Tensor,
    batch_indices: Tensor,
    gt_index: Tensor,
    size: int,
    kind: str,
) -> Tensor:
    """Pool the matched mask of every RoI to `size` x `size`.

    Masks come as crops, each with the window that it covers. If the window has as many pixels as
    the crop has cells, the result is that of the whole bitmap.

    Args:
        masks: (B, N, S, T), 0 or 1.
        windows: (B, N, 4), xyxy, network frame: the rectangle of the S x T cells.
        boxes: (P, 4), xyxy, network frame.
        batch_indices: (P,) int32.
        gt_index: (P,) int32 in 0..N-1.
        size: M.
        kind: "soft": plain RoIAlign, as torchvision; "binary": aligned RoIAlign thresholded at 0.5,
            as Detectron2 does for bitmaps.

    Returns:
        (P, M, M) float32 in [0, 1].
    """
    crop_size = tuple(masks.shape[2:4])
    number = masks.shape[1] or ops.shape(masks)[1]
    crop_index = batch_indices * number + gt_index
    maps = ops.cast(ops.reshape(masks, (-1, *crop_size, 1)), "float32")
    of_box = ops.take(ops.reshape(windows, (-1, 4)), crop_index, axis=0)  # (P, 4)
    pooled = roi_align(
        maps,
        _in_cells(boxes, of_box, crop_size),
        crop_index,
        strides=1,
        output_size=size,
        sampling_ratio=0,
        aligned=kind == "binary",
    )[..., 0]
    if kind == "binary":
        pooled = ops.cast(pooled >= 0.5, "float32")
    return ops.stop_gradient(pooled)


def _in_cells(boxes, windows, crop_size):
    """Boxes (P, 4) in cells of their crops."""
    corner, sides = windows[:, :2], windows[:, 2:] - windows[:, :2]
    cells = ops.convert_to_tensor(crop_size[::-1], "float32")  # along x, along y
    scale = ops.where(sides > 0, cells / ops.maximum(sides, 1e-6), 0.0)  # unused slots: no side
    shifted = ops.reshape(boxes, (-1, 2, 2)) - corner[:, None]
    return ops.reshape(shifted * scale[:, None], (-1, 4))
