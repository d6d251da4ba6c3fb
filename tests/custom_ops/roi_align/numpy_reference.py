"""RoIAlign in NumPy, slow and plain: what the compiled kernels are compared with.

He et al. 2017 as in torchvision and Detectron2. Where samples lie is computed in float32, in the
order of operations that all implementations share, so that a box near a step of the definition
(a level's area, a whole number of samples, the border of a map) falls on the same side of it.
Everything after that is float64.
"""

import numpy as np

FAR = np.float32(1e8)  # cells; coordinates beyond do not matter
HALF = np.float32(0.5)


def roi_align(
    features,
    boxes,
    batch_indices,
    strides,
    output_size,
    sampling_ratio=0,
    aligned=True,
    level_areas=(),
):
    """Pooled values.

    Args:
        features: Maps of the levels, finest first, each (B, h, w, C).
        boxes: (N, 4) float32, xyxy, pixels.
        batch_indices: (N,) int; outside 0..B-1 the RoI is padding, and gives 0.
        strides: Pixels per cell, one number a level.
        output_size: (height, width) in bins.
        sampling_ratio: Samples per bin and axis; 0: ceil(bin size).
        aligned: Whether boxes are shifted by half a cell.
        level_areas: For each level but the first, the area in pixels^2 of its smallest box.

    Returns:
        (N, height, width, C) float64.
    """
    channels = features[0].shape[3]
    pooled = np.zeros((len(boxes), *output_size, channels))
    for n, box in enumerate(np.asarray(boxes, np.float32)):
        level = _level(box, level_areas)
        image = features[level]
        if not 0 <= batch_indices[n] < len(image):
            continue
        image = np.asarray(image[batch_indices[n]], np.float64)
        along_y, along_x = _weights(
            box, image.shape[:2], strides[level], output_size, sampling_ratio, aligned
        )
        pooled[n] = np.einsum("py,qx,yxc->pqc", along_y, along_x, image)
    return pooled


def roi_align_gradient(
    pooled_gradient,
    features,
    boxes,
    batch_indices,
    strides,
    output_size,
    sampling_ratio=0,
    aligned=True,
    level_areas=(),
):
    """Gradients with respect to the features: a list of float64 arrays of their shapes."""
    gradients = [np.zeros(maps.shape) for maps in features]
    for n, box in enumerate(np.asarray(boxes, np.float32)):
        level = _level(box, level_areas)
        gradient = gradients[level]
        if not 0 <= batch_indices[n] < len(gradient):
            continue
        gradient = gradient[batch_indices[n]]
        along_y, along_x = _weights(
            box, gradient.shape[:2], strides[level], output_size, sampling_ratio, aligned
        )
        upstream = np.asarray(pooled_gradient[n], np.float64)
        gradient += np.einsum("py,qx,pqc->yxc", along_y, along_x, upstream)
    return gradients


def _level(box, level_areas):
    """The finest level whose successor wants larger boxes."""
    with np.errstate(invalid="ignore", over="ignore"):
        width, height = np.fmax(box[2:] - box[:2], np.float32(0))
        area = width * height
    return sum(bool(area >= np.float32(smallest)) for smallest in level_areas)


def _weights(box, map_size, stride, output_size, sampling_ratio, aligned):
    """Weights of the cells in the bins: (bins along y, h) and (bins along x, w)."""
    with np.errstate(over="ignore", invalid="ignore"):
        cells = box * np.float32(1 / stride)
    weights = [np.zeros(shape) for shape in zip(output_size, map_size)]
    if not np.isfinite(cells).all() or 0 in map_size:
        return weights
    x1, y1, x2, y2 = np.clip(cells, -FAR, FAR)
    for axis, (start, end) in enumerate([(y1, y2), (x1, x2)]):
        _add_samples(weights[axis], start, end, sampling_ratio, aligned)
    return weights


def _add_samples(weights, start, end, sampling_ratio, aligned):
    """Adds the mean of the samples of each bin to its row of `weights` (bins, cells)."""
    bins, length = weights.shape
    shift = HALF if aligned else np.float32(0)
    start, end = start - shift, end - shift
    size = end - start if aligned else max(end - start, np.float32(1))
    bin_size = size / np.float32(bins)
    samples = sampling_ratio or _adaptive_samples(bin_size, length, bins)
    for bin_ in range(bins):
        for sample in range(samples):
            offset = (np.float32(sample) + HALF) * bin_size / np.float32(samples)
            point = start + np.float32(bin_) * bin_size + offset
            for cell, weight in _interpolate(point, length):
                weights[bin_, cell] += weight / samples


def _adaptive_samples(bin_size, length, bins):
    """ceil(bin size), bounded: a box of four map lengths or more is sampled more coarsely."""
    most = max(np.ceil(np.float32(4 * length) / np.float32(bins)), 8)
    return int(min(max(np.ceil(bin_size), 0), most))


def _interpolate(point, length):
    """(cell, weight) pairs of a sample; none if it is more than a cell outside the map."""
    if point < -1 or point > length:
        return []
    point = max(float(point), 0.0)
    low = int(point)
    if low >= length - 1:
        return [(length - 1, 1.0)]
    return [(low, 1 - (point - low)), (low + 1, point - low)]
