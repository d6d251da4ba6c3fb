"""Detections from the network frame to the pixels of the picture (NumPy)."""

from __future__ import annotations

import numpy as np

from kmrcnn.config.schema import MaskConfig
from kmrcnn.postprocess.paste_masks import paste_masks


def frame_scale(network_size: tuple[int, int], original_size: tuple[int, int]) -> np.ndarray:
    """Factors (4,) float32 that take xyxy boxes of the network frame to the original frame."""
    height, width = np.asarray(original_size, np.float32) / np.asarray(network_size, np.float32)
    return np.array([width, height, width, height], np.float32)


def to_original_frame(
    outputs: dict[str, np.ndarray],
    network_size: tuple[int, int],
    original_size: tuple[int, int],
    mask_config: MaskConfig | None = None,
    score_threshold: float = 0.0,
) -> dict[str, np.ndarray]:
    """Scale, clip, drop empty and low-scoring boxes, paste masks.

    Args:
        outputs: One picture of what the model returns: "boxes" (D, 4), "scores", "classes", "valid"
            (D,), and "masks" (D, M, M) where it has them.
        network_size: (height, width) of the resized picture, without padding.
        original_size: (height, width) of the picture.
        mask_config: Rule and threshold of pasting; needed where there are masks.
        score_threshold: Lowest score that stays.

    Returns:
        {"boxes": (d, 4), "scores": (d,), "classes": (d,), "masks": (d, H, W) bool or None}.
    """
    height, width = (int(side) for side in original_size)
    boxes = outputs["boxes"] * frame_scale(network_size, original_size)
    boxes = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
    keep = outputs["valid"] & (outputs["scores"] >= score_threshold)
    keep &= (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    masks = None
    if "masks" in outputs:
        masks = paste_masks(
            outputs["masks"][keep],
            boxes[keep],
            (height, width),
            mask_config.paste,
            mask_config.threshold,
        )
    return {
        "boxes": boxes[keep],
        "scores": outputs["scores"][keep],
        "classes": outputs["classes"][keep],
        "masks": masks,
    }
