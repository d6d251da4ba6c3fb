"""The kernels' plain C interface (`cc/roi_align.h`) through ctypes: NumPy arrays or torch tensors.

For tests, the sanitizer run and machines without TensorFlow. It needs NumPy only and reads no other
file of the package.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

import numpy as np

MAX_LEVELS = 8
FLOAT32, FLOAT16, BFLOAT16 = range(3)


class RoIAlignCall(ctypes.Structure):
    """`struct KmrcnnRoiAlign`, field by field."""

    _fields_ = [
        ("num_levels", ctypes.c_int32),
        ("batch", ctypes.c_int32),
        ("channels", ctypes.c_int32),
        ("num_rois", ctypes.c_int32),
        ("pooled_height", ctypes.c_int32),
        ("pooled_width", ctypes.c_int32),
        ("sampling_ratio", ctypes.c_int32),
        ("aligned", ctypes.c_int32),
        ("dtype", ctypes.c_int32),
        ("height", ctypes.c_int32 * MAX_LEVELS),
        ("width", ctypes.c_int32 * MAX_LEVELS),
        ("scale", ctypes.c_float * MAX_LEVELS),
        ("level_area", ctypes.c_float * MAX_LEVELS),
        ("features", ctypes.c_void_p * MAX_LEVELS),
        ("gradients", ctypes.c_void_p * MAX_LEVELS),
        ("boxes", ctypes.c_void_p),
        ("batch_indices", ctypes.c_void_p),
    ]


def load(path: str | Path) -> ctypes.CDLL:
    """A library built by `custom_ops/build.py`, with the result types of its functions."""
    library = ctypes.CDLL(str(path))
    if hasattr(library, "kmrcnn_cuda_error_string"):
        library.kmrcnn_roi_align_backward_cuda_scratch.restype = ctypes.c_int64
        library.kmrcnn_cuda_error_string.restype = ctypes.c_char_p
    return library


def describe(
    features: Sequence,
    boxes,
    batch_indices,
    strides: Sequence[float],
    output_size: tuple[int, int],
    sampling_ratio: int = 0,
    aligned: bool = True,
    level_areas: Sequence[float] = (),
    dtype: int = FLOAT32,
    gradients: Sequence = (),
) -> RoIAlignCall:
    """A call on arrays that the caller keeps alive: contiguous, boxes float32, indices int32.

    The arguments are those of `kmrcnn.custom_ops.roi_align`; `dtype` says how the bytes of features
    and gradients are to be read.
    """
    call = RoIAlignCall(
        num_levels=len(features),
        batch=features[0].shape[0],
        channels=features[0].shape[3],
        num_rois=len(boxes),
        pooled_height=output_size[0],
        pooled_width=output_size[1],
        sampling_ratio=sampling_ratio,
        aligned=int(aligned),
        dtype=dtype,
        boxes=pointer(boxes),
        batch_indices=pointer(batch_indices),
    )
    for level, (maps, stride) in enumerate(zip(features, strides)):
        call.height[level], call.width[level] = maps.shape[1:3]
        call.scale[level] = 1.0 / stride
        call.features[level] = pointer(maps)
        if level:
            call.level_area[level] = level_areas[level - 1]
    for level, gradient in enumerate(gradients):
        call.gradients[level] = pointer(gradient)
    return call


def pointer(array) -> ctypes.c_void_p:
    """Address of the first element of a NumPy array or a torch tensor."""
    return ctypes.c_void_p(array.ctypes.data if isinstance(array, np.ndarray) else array.data_ptr())


def forward_cpu(library: ctypes.CDLL, call: RoIAlignCall, pooled, threads: int = 2) -> None:
    """Fill `pooled` (N, *output_size, C)."""
    _check(
        library.kmrcnn_roi_align_forward_cpu(
            ctypes.byref(call), pointer(pooled), *_thread_pool(library, threads)
        )
    )


def backward_cpu(library: ctypes.CDLL, call: RoIAlignCall, pooled_gradient, threads: int = 2):
    """Fill the call's `gradients`."""
    _check(
        library.kmrcnn_roi_align_backward_cpu(
            ctypes.byref(call), pointer(pooled_gradient), *_thread_pool(library, threads), threads
        )
    )


def _thread_pool(library, threads):
    loop = ctypes.cast(library.kmrcnn_thread_parallel_for, ctypes.c_void_p)
    return loop, ctypes.c_void_p(threads)


def _check(status: int) -> None:
    if status:
        raise RuntimeError({1: "unknown dtype", 2: "out of memory"}[status])
