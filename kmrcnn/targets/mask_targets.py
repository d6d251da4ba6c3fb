"""Ground-truth masks in the frame of the RoIs."""

from __future__ import annotations

from keras import ops

from kmrcnn.custom_ops import roi_align
from kmrcnn.structures.typing import Tensor


def mask_targets(
    masks: Tensor,
    boxes: Tensor,
    batch_indices: Tensor,
    gt_index: Tensor,
    size: int,
    kind: str,
) -> Tensor:
    """Crop the matched mask of every RoI and pool it to `size` x `size`.

    Args:
        masks: (B, N, H, W), 0 or 1, network frame.
        boxes: (P, 4), xyxy, network frame.
        batch_indices: (P,) int32.
        gt_index: (P,) int32 in 0..N-1.
        size: M.
        kind: "soft": plain RoIAlign, as torchvision; "binary": aligned RoIAlign thresholded at 0.5,
            as Detectron2 does for bitmaps.

    Returns:
        (P, M, M) float32 in [0, 1].
    """
    _, number, height, width = masks.shape
    number = number or ops.shape(masks)[1]
    maps = ops.cast(
        ops.reshape(masks, (-1, height or ops.shape(masks)[2], width or ops.shape(masks)[3], 1)),
        "float32",
    )
    pooled = roi_align(
        maps,
        boxes,
        batch_indices * number + gt_index,
        strides=1,
        output_size=size,
        sampling_ratio=0,
        aligned=kind == "binary",
    )[..., 0]
    if kind == "binary":
        pooled = ops.cast(pooled >= 0.5, "float32")
    return ops.stop_gradient(pooled)
