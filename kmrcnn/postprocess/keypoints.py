"""Heatmaps to keypoints exactly as torchvision and Detectron2 read them (NumPy).

A heatmap is resized to its box in whole pixels, bicubic; its highest pixel is the keypoint. The
box is that of the network frame: in another frame the map would have other pixels.
"""

from __future__ import annotations

import math

import numpy as np

_CUBIC = -0.75  # the coefficient PyTorch and OpenCV take


def heatmaps_to_keypoints(heatmaps: np.ndarray, boxes: np.ndarray, score: str) -> np.ndarray:
    """The highest point of every heatmap.

    Args:
        heatmaps: (D, M, M, J) float32 logits over the cells of the boxes.
        boxes: (D, 4), xyxy, network frame.
        score: "probability": exp(logit) over the sum of those of the M x M cells (Detectron2);
            "logit": the logit itself (torchvision).

    Returns:
        (D, J, 3) float32: x, y in the frame of the boxes, and the score.
    """
    heatmaps = np.asarray(heatmaps, np.float32)
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    if heatmaps.ndim != 4 or heatmaps.shape[1] != heatmaps.shape[2] or len(heatmaps) != len(boxes):
        raise ValueError(
            "`heatmaps` must have shape (D, M, M, J) with one set per box. "
            f"Received: heatmaps.shape={heatmaps.shape}, boxes.shape={boxes.shape}"
        )
    if score not in ("probability", "logit"):
        raise ValueError(f'`score` must be "probability" or "logit". Received: {score!r}')
    keypoints = np.zeros((len(boxes), heatmaps.shape[3], 3), np.float32)
    for out, maps, (x1, y1, x2, y2) in zip(keypoints, np.moveaxis(heatmaps, 3, 1), boxes):
        width, height = max(x2 - x1, np.float32(1)), max(y2 - y1, np.float32(1))
        rows = _cubic_weights(maps.shape[1], math.ceil(height))
        columns = _cubic_weights(maps.shape[2], math.ceil(width))
        resized = rows @ maps @ columns.T  # (J, pixels of the height, of the width)
        flat = resized.reshape(len(maps), -1)
        y, x = np.divmod(flat.argmax(axis=1), len(columns))
        out[:, 0] = (x + np.float32(0.5)) * (width / np.float32(len(columns))) + x1
        out[:, 1] = (y + np.float32(0.5)) * (height / np.float32(len(rows))) + y1
        out[:, 2] = flat.max(axis=1)
        if score == "probability":
            out[:, 2] = np.exp(out[:, 2] - _log_sum_exp(maps))
    return keypoints


def double_heatmaps(heatmaps: np.ndarray) -> np.ndarray:
    """(D, 2 M, 2 M, J) from (D, M, M, J), bilinear at half-pixel centres, edges repeated."""
    side = heatmaps.shape[1]
    positions = np.maximum((np.arange(2 * side, dtype=np.float32) + 0.5) / 2 - 0.5, 0)
    low = np.floor(positions).astype(int)
    high = np.minimum(low + 1, side - 1)
    weights = np.zeros((2 * side, side), np.float32)
    index = np.arange(2 * side)
    np.add.at(weights, (index, low), 1 - (positions - low))
    np.add.at(weights, (index, high), positions - low)
    maps = weights @ np.moveaxis(heatmaps, 3, 1) @ weights.T  # (D, J, 2 M, 2 M)
    return np.moveaxis(maps, 1, 3)


def _cubic_weights(cells: int, pixels: int) -> np.ndarray:
    """(pixels, cells) float32: cubic convolution (Keys 1981) at pixel centres, edges repeated."""
    scale = np.float32(cells) / np.float32(pixels)
    positions = scale * (np.arange(pixels, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5)
    first = np.floor(positions).astype(int) - 1
    weights = np.zeros((pixels, cells), np.float32)
    for tap in range(4):
        cell = first + tap
        kernel = _cubic(np.abs(positions - cell))
        np.add.at(weights, (np.arange(pixels), np.clip(cell, 0, cells - 1)), kernel)
    return weights


def _cubic(distance: np.ndarray) -> np.ndarray:
    near = ((_CUBIC + 2) * distance - (_CUBIC + 3)) * distance * distance + 1
    far = ((_CUBIC * distance - 5 * _CUBIC) * distance + 8 * _CUBIC) * distance - 4 * _CUBIC
    return np.where(distance <= 1, near, far)


def _log_sum_exp(maps: np.ndarray) -> np.ndarray:
    """(J,) of the cells of (J, M, M)."""
    flat = maps.reshape(len(maps), -1)
    highest = flat.max(axis=1)
    return highest + np.log(np.exp(flat - highest[:, None]).sum(axis=1))
