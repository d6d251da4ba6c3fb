"""Calls of the plain C interface that the tests of the CPU and of the CUDA kernels share."""

from dataclasses import dataclass

import ml_dtypes
import numpy as np

from kmrcnn.custom_ops.roi_align import kernels
from tests.custom_ops.roi_align import numpy_reference

PYRAMID = ((40, 56), (20, 28), (10, 14), (5, 7))
DTYPES = {  # what the kernels call it, and the relative error of rounding to it
    np.float32: (kernels.FLOAT32, 1e-6),
    np.float16: (kernels.FLOAT16, 2.0**-11),
    ml_dtypes.bfloat16: (kernels.BFLOAT16, 2.0**-8),
}
ODD_BOXES = [
    [10, 10, 10, 10],  # empty
    [30, 35, 20, 20],  # inverted
    [500, 500, 600, 600],  # beyond the image
    [-300, -300, 2000, 3000],  # far larger than the image
    [20, -5000, 24, 5000],
    [-1e30, 3, 1e30, 9],
    [np.nan, 0, 20, 20],
    [0, 0, np.inf, 20],
    [-2, -2, 6, 6],  # samples at the border
    [0, 0, 224, 160],  # the image
]


@dataclass(frozen=True)
class Setting:
    """What is pooled; maps and boxes are random."""

    maps: tuple[tuple[int, int], ...] = PYRAMID
    batch: int = 2
    channels: int = 8
    rois: int = 24
    output_size: tuple[int, int] = (7, 7)
    sampling_ratio: int = 2
    aligned: bool = True
    dtype: type = np.float32

    def draw(self):
        """Features, boxes and indices, with boxes and padding of all sorts among them."""
        draw = np.random.default_rng(0)
        features = [
            draw.normal(size=(self.batch, *size, self.channels)).astype(self.dtype)
            for size in self.maps
        ]
        centres = draw.uniform(-10, 230, (self.rois, 2))
        sides = np.exp(draw.uniform(np.log(4), np.log(260), (self.rois, 2)))
        boxes = np.concatenate([centres - sides / 2, centres + sides / 2], 1).astype(np.float32)
        boxes = np.concatenate([boxes, np.array(ODD_BOXES, np.float32)])[: 2 * self.rois]
        indices = np.arange(len(boxes), dtype=np.int32) % max(self.batch, 1)
        indices[3:4], indices[4:5] = -1, self.batch
        return features, boxes, indices

    def arguments(self):
        """Strides and the arguments after them, of `numpy_reference` and `kernels.describe`."""
        levels = range(len(self.maps))
        strides = tuple(4 << level for level in levels)
        areas = tuple(float(56 << level) ** 2 for level in levels[:-1])
        return strides, self.output_size, self.sampling_ratio, self.aligned, areas


def describe(setting, features, boxes, indices, gradients):
    dtype = DTYPES[setting.dtype][0]
    return kernels.describe(
        features, boxes, indices, *setting.arguments(), dtype=dtype, gradients=gradients
    )


def pool_like(setting, boxes):
    return np.full((len(boxes), *setting.output_size, setting.channels), 7, setting.dtype)


def upstream_of(setting, boxes):
    shape = pool_like(setting, boxes).shape
    return np.random.default_rng(1).normal(size=shape).astype(setting.dtype)


def misplace(array):
    """A copy that no vector of channels may be loaded from."""
    copy = np.empty(array.size + 1, array.dtype)[1:].reshape(array.shape)
    copy[...] = array
    assert copy.ctypes.data % 16
    return copy


def compare(setting, kinds, results, features, boxes, indices):
    """Pooled values, then the gradients of each kind of backward, against the plain reference."""
    features = [maps.astype(np.float64) for maps in features]
    call = (features, boxes, indices, *setting.arguments())
    pooled = numpy_reference.roi_align(*call)
    gradients = numpy_reference.roi_align_gradient(upstream_of(setting, boxes), *call)
    for kind, got, want in zip(kinds, results, ([pooled], gradients, gradients)):
        for level, (one, other) in enumerate(zip(got, want, strict=True)):
            assert one.shape == other.shape
            largest = np.abs(other).max(initial=0)
            np.testing.assert_allclose(
                one.astype(np.float64),
                other,
                rtol=DTYPES[setting.dtype][1],
                atol=5e-6 * (1 + largest),
                err_msg=f"{kind}, level {level}",
            )
