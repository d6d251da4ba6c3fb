"""Heatmaps to keypoints inside the graph, for exported models: all sizes are fixed.

The rule is that of `kmrcnn.postprocess.keypoints`, which looks at every pixel of a heatmap resized
to its box. Here only the pixels in a window around the highest cell are computed. Both find the
same point unless two peaks of a map are equally high but for the interpolation between cells.
"""

from __future__ import annotations

import numpy as np
from keras import ops

from kmrcnn.structures.typing import Tensor

# Side of the window in pixels: a cell to either side of the highest one, in boxes of up to
# 56 * 24 = 1344 pixels. Maps of smaller boxes are searched further, up to all of them.
WINDOW = 48
_BORDER = 2  # cells the kernel reaches beyond the map, where the edge goes on
_CUBIC = -0.75  # the coefficient PyTorch and OpenCV take


def search_windows(heatmaps: Tensor, boxes: Tensor, score: str) -> Tensor:
    """The highest point of every heatmap.

    Args:
        heatmaps: (N, M, M, J) logits over the cells of the boxes.
        boxes: (N, 4), xyxy.
        score: "probability" or "logit", see `kmrcnn.postprocess.keypoints`.

    Returns:
        (N, J, 3) float32: x, y in the frame of the boxes, and the score. Points are centres of
        pixels of the resized map.
    """
    side, number = heatmaps.shape[1], heatmaps.shape[3]
    maps = ops.reshape(ops.transpose(heatmaps, (0, 3, 1, 2)), (-1, side, side))  # (N * J, M, M)
    _, highest = _highest(ops.reshape(maps, (-1, side * side)))
    per_map = ops.repeat(boxes, number, axis=0)  # (N * J, 4)
    columns = _Pixels(per_map[:, 0], per_map[:, 2], highest % side, side)
    rows = _Pixels(per_map[:, 1], per_map[:, 3], highest // side, side)

    padded = ops.take(ops.take(maps, _edge_indices(side), axis=1), _edge_indices(side), axis=2)
    resized = ops.matmul(rows.weights, padded)  # (N * J, WINDOW, M + 4)
    resized = ops.matmul(resized, ops.transpose(columns.weights, (0, 2, 1)))
    exists = ops.logical_and(rows.exists[:, :, None], columns.exists[:, None, :])
    resized = ops.reshape(ops.where(exists, resized, -1e30), (-1, WINDOW * WINDOW))
    value, best = _highest(resized)
    if score == "probability":
        value = ops.exp(value - ops.logsumexp(ops.reshape(maps, (-1, side * side)), axis=1))
    points = ops.stack([columns.centre(best % WINDOW), rows.centre(best // WINDOW), value], axis=-1)
    return ops.reshape(points, (-1, number, 3))


def _highest(values: Tensor) -> tuple[Tensor, Tensor]:
    """Value and index (n,) int32 of the highest of each row of (n, m).

    Keras's argmax has bit operations in its TensorFlow form that ONNX and LiteRT do not know.
    """
    value, index = ops.top_k(values, 1)
    return value[:, 0], ops.cast(index[:, 0], "int32")


class _Pixels:
    """The window along one axis: which pixels of the resized map, and how they come from cells.

    Args:
        start: (n,) first coordinate of the box.
        end: (n,) last coordinate of the box.
        cell: (n,) int32, the highest cell.
        side: M.

    Attributes:
        exists: (n, WINDOW) bool, False beyond the last pixel of the box.
        weights: (n, WINDOW, M + 4), of the cells with the border.
    """

    def __init__(self, start: Tensor, end: Tensor, cell: Tensor, side: int):
        self.start = start
        self.length = ops.maximum(end - start, 1.0)
        self.count = ops.ceil(self.length)  # pixels of the resized map
        middle = ops.floor((ops.cast(cell, "float32") + 0.5) * self.count / side)
        last_start = ops.maximum(self.count - WINDOW, 0.0)
        self.first = ops.clip(middle - WINDOW // 2, 0.0, last_start)
        pixels = self.first[:, None] + np.arange(WINDOW, dtype="float32")  # (n, WINDOW)
        self.exists = pixels < self.count[:, None]
        positions = (side / self.count)[:, None] * (pixels + 0.5) - 0.5  # in cells
        cells = np.arange(-_BORDER, side + _BORDER, dtype="float32")
        self.weights = _cubic(ops.abs(positions[..., None] - cells))

    def centre(self, index: Tensor) -> Tensor:
        """Coordinate (n,) of the middle of pixel `index` of the window."""
        pixel = self.first + ops.cast(index, "float32")
        return (pixel + 0.5) * (self.length / self.count) + self.start


def _edge_indices(side: int) -> np.ndarray:
    """Cells (M + 4,) of a map whose edges go on for two cells."""
    return np.clip(np.arange(-_BORDER, side + _BORDER), 0, side - 1)


def _cubic(distance: Tensor) -> Tensor:
    """Cubic convolution kernel (Keys 1981) of distances >= 0."""
    near = ((_CUBIC + 2) * distance - (_CUBIC + 3)) * distance * distance + 1
    far = ((distance - 5) * distance + 8) * distance - 4
    return ops.where(distance <= 1, near, ops.where(distance < 2, _CUBIC * far, 0.0))
