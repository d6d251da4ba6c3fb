"""Counting which predicted masks hit which reference masks."""

import numpy as np


def mask_iou(masks_a: np.ndarray, masks_b: np.ndarray) -> np.ndarray:
    """Intersection over union (N, M) of masks (N, H, W) and (M, H, W); 0 for two empty masks."""
    a = masks_a.reshape(len(masks_a), -1).astype(np.float32)
    b = masks_b.reshape(len(masks_b), -1).astype(np.float32)
    intersection = a @ b.T
    union = a.sum(1)[:, None] + b.sum(1)[None] - intersection
    return intersection / np.maximum(union, 1.0)


def match_masks(
    pred_masks: np.ndarray, ref_masks: np.ndarray, iou: float = 0.75
) -> tuple[int, int]:
    """Matches masks one to one, the highest IoU first.

    Args:
        pred_masks: (N, H, W) bool, those that the detector stands by.
        ref_masks: (M, H, W) bool.
        iou: least IoU of a match, in (0, 1].

    Returns:
        (num_matched, num_false): matched pairs, and predictions left without a reference.
    """
    if len(pred_masks) == 0 or len(ref_masks) == 0:
        return 0, len(pred_masks)
    pairwise = mask_iou(pred_masks, ref_masks)
    num_matched = 0
    while pairwise.max() >= iou:
        pred, ref = np.unravel_index(pairwise.argmax(), pairwise.shape)
        pairwise[pred], pairwise[:, ref] = -1.0, -1.0
        num_matched += 1
    return num_matched, len(pred_masks) - num_matched
