"""RoI operators in NumPy, by dense matrices and loops: slow and obvious."""

from __future__ import annotations

import numpy as np


def round_half_away(value: float) -> int:
    return int(np.sign(value) * np.floor(abs(value) + 0.5))


def level_of(box: np.ndarray, level_areas: tuple[float, ...]) -> int:
    x1, y1, x2, y2 = box
    return sum(max(x2 - x1, 0) * max(y2 - y1, 0) >= area for area in level_areas)


def roi_pool(feature: np.ndarray, box: np.ndarray, stride: float, size: tuple) -> np.ndarray:
    """(P, Q, C): RoIPool of one box on one map (h, w, C), with bins in whole numbers."""
    x1, y1, x2, y2 = (round_half_away(v) for v in box / stride)
    rows = [_cells(y1, y2, bin_, size[0], feature.shape[0]) for bin_ in range(size[0])]
    columns = [_cells(x1, x2, bin_, size[1], feature.shape[1]) for bin_ in range(size[1])]
    pooled = np.zeros((*size, feature.shape[2]), feature.dtype)
    for p, row in enumerate(rows):
        for q, column in enumerate(columns):
            if row and column:
                pooled[p, q] = feature[np.ix_(row, column)].max((0, 1))
    return pooled


def _cells(first, last, index, number, length):
    side = max(last - first + 1, 1)
    start, end = first + index * side // number, first - (-(index + 1) * side // number)
    return [cell for cell in range(start, end) if 0 <= cell < length]


def roi_samples(feature, box, stride, size, ratio, aligned, rounded=False):
    """The samples of RoIAlign in one box on one map (h, w, C), `rounded` to whole cells or not.

    Returns:
        Values (P, Q, ratio^2, C), and the weights of the cells in them (P, Q, ratio^2, h, w).
    """
    corners = [round_half_away(v) if rounded else v for v in box.astype("float64") / stride]
    x1, y1, x2, y2 = (v - 0.5 * aligned for v in corners)
    height, width = y2 - y1, x2 - x1
    if not aligned:
        height, width = max(height, 1.0), max(width, 1.0)
    rows = _weights_on_axis(y1, height / size[0], size[0], ratio, feature.shape[0])
    columns = _weights_on_axis(x1, width / size[1], size[1], ratio, feature.shape[1])
    weights = np.einsum("pyh,qxw->pqyxhw", rows, columns)
    weights = weights.reshape(*size, ratio**2, *feature.shape[:2])
    return np.einsum("pqshw,hwc->pqsc", weights, feature), weights


def _weights_on_axis(start, bin_size, bins, ratio, length):
    weights = np.zeros((bins, ratio, length))
    for index in range(bins):
        for sample in range(ratio):
            point = start + (index + (sample + 0.5) / ratio) * bin_size
            if -1 <= point <= length:
                point = min(max(point, 0.0), length - 1.0)
                low = int(point)
                weights[index, sample, low] += 1 - (point - low)
                weights[index, sample, min(low + 1, length - 1)] += point - low
    return weights
