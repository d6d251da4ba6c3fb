"""Detections from the network frame to the pixels of the picture (NumPy)."""

from __future__ import annotations

from typing import Literal

import numpy as np

from kmrcnn.config.schema import KeypointConfig, MaskConfig
from kmrcnn.postprocess.keypoints import double_heatmaps, heatmaps_to_keypoints
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
    keypoint_config: KeypointConfig | None = None,
    box_ends: Literal["edge", "last_pixel"] = "edge",
) -> dict[str, np.ndarray]:
    """Scale, clip, drop empty and low-scoring boxes, paste masks, find keypoints.

    Args:
        outputs: One picture of what the model returns: "boxes" (D, 4), "scores", "classes", "valid"
            (D,), and where it has them "masks" (D, M, M), "keypoints" (D, J, 3),
            "keypoint_heatmaps" (D, M / 2, M / 2, J).
        network_size: (height, width) of the resized picture, without padding.
        original_size: (height, width) of the picture.
        mask_config: Rule and threshold of pasting; needed where there are masks.
        score_threshold: Lowest score that stays.
        keypoint_config: Rule of reading heatmaps; without it "keypoints" are taken as they are.
        box_ends: `anchors.box_ends` of the model. With "last_pixel" the numbers of a box's first
            and last pixel are scaled and rounded, so that its sides are whole.

    Returns:
        {"boxes": (d, 4), "scores": (d,), "classes": (d,), "masks": (d, H, W) bool or None,
        "keypoints": (d, J, 3) x, y, score or None}.
    """
    height, width = (int(side) for side in original_size)
    scale = frame_scale(network_size, original_size)
    if box_ends == "last_pixel":
        boxes = _scale_pixel_numbers(outputs["boxes"], network_size, original_size)
    else:
        boxes = outputs["boxes"] * scale
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
        "keypoints": _keypoints(outputs, keep, keypoint_config, scale),
    }


def _scale_pixel_numbers(
    boxes: np.ndarray, network_size: tuple[int, int], original_size: tuple[int, int]
) -> np.ndarray:
    """Boxes (D, 4) with pixel 0 and the last pixel of a side on those of the original."""
    network, original = np.asarray(network_size) - 1.0, np.asarray(original_size) - 1.0
    scale = np.tile((original / np.maximum(network, 1.0))[::-1], 2)
    last = np.array([0.0, 0.0, 1.0, 1.0])
    return (np.rint((boxes - last) * scale) + last).astype(np.float32)


def _keypoints(
    outputs: dict[str, np.ndarray],
    keep: np.ndarray,
    config: KeypointConfig | None,
    scale: np.ndarray,
) -> np.ndarray | None:
    if config is not None and "keypoint_heatmaps" in outputs:
        maps = double_heatmaps(outputs["keypoint_heatmaps"][keep])
        keypoints = heatmaps_to_keypoints(maps, outputs["boxes"][keep], config.score)
    elif "keypoints" in outputs:
        keypoints = outputs["keypoints"][keep]
    else:
        return None
    return keypoints * np.array([scale[0], scale[1], 1], np.float32)
