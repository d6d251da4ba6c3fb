"""Bytes that RoIAlign must move for given boxes, for `roi_align_gpu.py`. NumPy only.

A bin reads the cells below its samples, each once: weights of equal cells are added up first. The
kernel cannot be faster than DRAM delivers the distinct cells of all RoIs and takes the pooled
values, nor than the L2 cache delivers the distinct cells of each RoI, if L1 keeps them for all bins
of that RoI.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Traffic:
    """Numbers of channel vectors."""

    pooled: int  # bins of all RoIs
    taps: int  # cells read by all bins
    roi_cells: int  # distinct cells of each RoI, summed over the RoIs
    cells: int  # distinct cells of all RoIs
    maps: int  # cells of all maps

    def __str__(self):
        return (
            f"vectors of channels: {self.pooled} pooled, {self.taps} taps, {self.roi_cells} cells "
            f"of each RoI, {self.cells} of all RoIs, {self.maps} of all maps"
        )

    def forward_floor(self, vector_bytes, dram_rate, l2_rate):
        """Seconds; the rates are bytes per second."""
        dram = (self.pooled + self.cells) * vector_bytes / dram_rate
        return max(dram, self.forward_bytes(vector_bytes) / l2_rate)

    def forward_bytes(self, vector_bytes):
        """Through the L2 cache."""
        return (self.pooled + self.roi_cells) * vector_bytes

    def backward_floor(self, vector_bytes, dram_rate):
        """Every pooled gradient is read, and every cell of the gradients written."""
        return (self.pooled + self.maps) * vector_bytes / dram_rate


def count(boxes, indices, levels, sizes, strides, bins, ratio, batch):
    """Traffic of square output with `bins` bins a side, aligned.

    Args:
        boxes: (N, 4) float32, xyxy, pixels, of finite numbers.
        indices: (N,) image of each box.
        levels: (N,) level of each box.
        sizes: (height, width) of the maps of each level.
        strides: Pixels per cell of each level.
        bins: Bins along each axis.
        ratio: Samples per bin and axis; 0: ceil(bin size).
        batch: Number of images.
    """
    taps = roi_cells = cells = 0
    for level, (size, stride) in enumerate(zip(sizes, strides)):
        chosen = levels == level
        x1, y1, x2, y2 = boxes[chosen].T.astype(np.float64) / stride - 0.5
        along_y = _touched(y1, y2, size[0], bins, ratio)  # (n, bins, height)
        along_x = _touched(x1, x2, size[1], bins, ratio)  # (n, bins, width)
        taps += (along_y.sum((1, 2)) * along_x.sum((1, 2))).sum()
        rows, columns = along_y.any(1), along_x.any(1)
        roi_cells += (rows.sum(1) * columns.sum(1)).sum()
        seen = np.zeros((batch, *size), bool)
        for image, row, column in zip(indices[chosen], rows, columns):
            seen[image] |= row[:, None] & column
        cells += seen.sum()
    maps = batch * sum(height * width for height, width in sizes)
    return Traffic(len(boxes) * bins * bins, int(taps), int(roi_cells), int(cells), maps)


def _touched(start, end, length, bins, ratio):
    """Which cells the samples of each bin touch along one axis: (n, bins, length) bool."""
    bin_size = (end - start) / bins
    samples = np.full(len(start), ratio) if ratio else np.maximum(np.ceil(bin_size), 0).astype(int)
    touched = np.zeros((len(start), bins, length), bool)
    rois = np.arange(len(start))[:, None]
    for sample in range(samples.max(initial=0)):
        position = np.arange(bins) + (sample + 0.5) / np.maximum(samples, 1)[:, None]
        point = start[:, None] + position * bin_size[:, None]  # (n, bins)
        reads = (sample < samples[:, None]) & (point >= -1) & (point <= length)
        point = np.clip(point, 0, length - 1)
        low = point.astype(int)
        touched[rois, np.arange(bins), low] |= reads
        high = np.minimum(low + 1, length - 1)
        touched[rois, np.arange(bins), high] |= reads & (point > low)
    return touched
