"""Affine maps of pictures, masks, boxes and points.

A map is a (2, 3) array that takes continuous (x, y), where pixel i covers [i, i + 1), from the old
picture to the new one.
"""

from __future__ import annotations

from math import ceil

import cv2
import numpy as np

from kmrcnn.data.example import MaskCrop

_FINEST = 16  # samples per pixel and axis; enough to shrink a mask to a sixteenth
_EMPTY = MaskCrop(np.zeros((0, 0), bool), 0, 0)


def scaling(old_size: tuple[int, int], new_size: tuple[int, int]) -> np.ndarray:
    """The map of a resizing between two (height, width)."""
    (old_height, old_width), (new_height, new_width) = old_size, new_size
    return np.array([[new_width / old_width, 0, 0], [0, new_height / old_height, 0]])


def warp_points(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (..., 2) as x, y."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def warp_keypoints(keypoints: np.ndarray | None, matrix: np.ndarray) -> np.ndarray | None:
    """Key points (N, J, 3); the visibility stays."""
    if keypoints is None:
        return None
    moved = warp_points(keypoints[..., :2], matrix)
    return np.concatenate([moved, keypoints[..., 2:]], axis=-1).astype(np.float32)


def warp_boxes(boxes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Boxes (N, 4) that hold the moved corners; may reach out of the picture."""
    corners = warp_points(boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2), matrix)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).astype(np.float32)


def warp_image(
    image: np.ndarray, matrix: np.ndarray, size: tuple[int, int], fill: int
) -> np.ndarray:
    """Picture (H, W, C) uint8 of (height, width) `size`, bilinear, `fill` where nothing was."""
    return np.dstack(
        [  # OpenCV fills at most four channels at a time
            cv2.warpAffine(
                image[..., first : first + 4],
                _on_indices(matrix),
                size[::-1],
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=(fill,) * 4,
            )
            for first in range(0, image.shape[2], 4)
        ]
    )


def warp_mask(mask: MaskCrop, matrix: np.ndarray, size: tuple[int, int]) -> MaskCrop:
    """The mask in a picture of (height, width) `size`.

    A pixel belongs to the new mask if the old one, interpolated between its pixels, covers at least
    half of it. (Nearest-neighbour sampling, as the references do it, frays outlines when it
    enlarges and tears thin objects when it shrinks.)
    """
    x1, y1, x2, y2 = _window(mask, matrix, size)
    if x1 >= x2 or y1 >= y2:
        return _EMPTY
    samples = _samples_per_pixel(matrix)
    to_samples = np.array([[samples, 0, -x1 * samples], [0, samples, -y1 * samples]])
    from_crop = np.array([[1, 0, mask.left], [0, 1, mask.top]])
    fine = cv2.warpAffine(
        mask.bitmap.astype(np.float32),
        _on_indices(_chain(from_crop, matrix, to_samples)),
        ((x2 - x1) * samples, (y2 - y1) * samples),
        flags=cv2.INTER_LINEAR,
    )
    coverage = fine.reshape(y2 - y1, samples, x2 - x1, samples).mean(axis=(1, 3))
    return MaskCrop(coverage >= 0.5, y1, x1)


def _window(mask: MaskCrop, matrix: np.ndarray, size: tuple[int, int]) -> tuple[int, ...]:
    """Whole-pixel xyxy rectangle of the picture that the moved mask may touch."""
    if mask.bitmap.size == 0:
        return 0, 0, 0, 0
    corners = warp_boxes(mask.box()[None], matrix)[0]
    x1, y1 = np.floor(np.maximum(corners[:2], 0)).astype(int)
    x2, y2 = np.ceil(np.minimum(corners[2:], size[::-1])).astype(int)
    return int(x1), int(y1), int(x2), int(y2)


def _samples_per_pixel(matrix: np.ndarray) -> int:
    """One sample for every old pixel that a new one covers, along each axis."""
    smallest = np.linalg.svd(matrix[:, :2], compute_uv=False)[-1]
    return min(_FINEST, max(1, ceil(1 / smallest - 1e-6)))


def _chain(*maps: np.ndarray) -> np.ndarray:
    """One map (2, 3) for several, applied from the first to the last."""
    whole = np.eye(3)
    for matrix in maps:
        whole = np.vstack([matrix, [0, 0, 1]]) @ whole
    return whole[:2]


def _on_indices(matrix: np.ndarray) -> np.ndarray:
    """The map as OpenCV counts: pixel centres lie on whole numbers."""
    half = np.array([[1, 0, 0.5], [0, 1, 0.5]])
    return _chain(half, matrix, half * [1, 1, -1])
