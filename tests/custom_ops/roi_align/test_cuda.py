"""The CUDA kernels, run on the CPU by `cc/cuda_emulation.h`, against the plain reference."""

import ctypes
from dataclasses import replace

import numpy as np
import pytest

from kmrcnn.custom_ops.roi_align import kernels
from tests.custom_ops.roi_align import numpy_reference
from tests.custom_ops.roi_align.kernel_calls import (
    DTYPES,
    PYRAMID,
    Setting,
    compare,
    describe,
    misplace,
    pool_like,
    upstream_of,
)

KINDS = ("pooled", "fast gradient", "deterministic gradient")
GUARD = 256  # bytes behind the scratch memory that must stay as they are


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("channels", [1, 6, 8, 36, 130, 136])
def test_all_channel_counts_and_dtypes_equal_the_reference(library, channels, dtype):
    check(library, Setting(channels=channels, dtype=dtype, rois=10, maps=PYRAMID[1:]))


@pytest.mark.parametrize(
    "changes",
    [
        {"sampling_ratio": 0},
        {"sampling_ratio": 0, "aligned": False},
        {"aligned": False},
        {"sampling_ratio": 1, "output_size": (1, 1)},
        {"sampling_ratio": 3, "output_size": (3, 5)},
        {"sampling_ratio": 0, "output_size": (5, 2)},
        {"output_size": (14, 14), "channels": 1},
        {"maps": ((40, 56),)},
        {"maps": ((40, 56),), "sampling_ratio": 0},
        {"maps": ((1, 9), (7, 1), (1, 1)), "sampling_ratio": 0},
    ],
    ids=str,
)
def test_all_options_equal_the_reference(library, changes):
    check(library, replace(Setting(), **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"output_size": (14, 14), "sampling_ratio": 10},
        {"output_size": (100, 40), "sampling_ratio": 1},
        {"output_size": (130, 3), "sampling_ratio": 1},
        {"output_size": (3, 130), "sampling_ratio": 1},
    ],
    ids=str,
)
def test_more_samples_or_bins_than_the_tables_hold(library, changes):
    check(library, replace(Setting(rois=6, channels=4, maps=PYRAMID[1:]), **changes))


def test_more_rois_than_one_round_lists(library):
    check(library, Setting(rois=1100, channels=1, output_size=(2, 2), maps=PYRAMID[2:]))


@pytest.mark.parametrize("unaligned", ["maps", "pooled values"])
def test_unaligned_arrays_are_read_element_by_element(library, unaligned):
    setting = Setting()
    features, boxes, indices = setting.draw()
    arguments = [features, boxes, indices]
    if unaligned == "maps":
        arguments[0] = [misplace(maps) for maps in features]
    place = misplace if unaligned == "pooled values" else np.copy
    compare(setting, KINDS, run(library, setting, *arguments, place=place), *arguments)


@pytest.mark.parametrize(
    "changes",
    [{"rois": 0}, {"channels": 0}, {"batch": 0}, {"maps": ((0, 0),)}, {"maps": ((8, 8), (0, 5))}],
    ids=str,
)
def test_empty_calls_write_what_there_is(library, changes):
    check(library, replace(Setting(), **changes))


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
def test_without_rois_gradients_are_zero(library, dtype):
    setting = Setting(rois=0, dtype=dtype)
    features, boxes, indices = setting.draw()
    _, *gradients = run(library, setting, features, boxes, indices)
    for gradient in (*gradients[0], *gradients[1]):
        assert gradient.size and not gradient.any()


def test_a_sum_of_many_rois_is_rounded_once(library):
    """4096 small gradients that float16 would lose if it were the type of the sum."""
    setting = Setting(dtype=np.float16, maps=((4, 4),), batch=1, output_size=(1, 1), channels=1)
    setting = replace(setting, sampling_ratio=1, aligned=False)
    features = [np.zeros((1, 4, 4, 1), np.float16)]
    boxes = np.tile(np.array([[5, 5, 7, 7]], np.float32), (4096, 1))  # samples a cell's centre
    upstream = np.full((4096, 1, 1, 1), 0.125, np.float16)
    _, *gradients = run(library, setting, features, boxes, np.zeros(4096, np.int32), upstream)
    for (gradient,) in gradients:
        np.testing.assert_allclose(np.sum(gradient, dtype=np.float64), 512, rtol=1e-3)


def test_an_infinite_gradient_reaches_its_own_cells_only(library):
    setting = Setting(maps=((40, 56),), rois=4)
    features, boxes, indices = setting.draw()
    upstream = np.zeros((len(boxes), *setting.output_size, setting.channels), np.float32)
    upstream[0, 3, 3, 5] = 1
    call = (features, boxes, indices, *setting.arguments())
    (touched,) = numpy_reference.roi_align_gradient(upstream, *call)
    assert 0 < np.count_nonzero(touched) < 100
    upstream[0, 3, 3, 5] = np.inf
    _, *gradients = run(library, setting, features, boxes, indices, upstream)
    for (gradient,) in gradients:
        np.testing.assert_array_equal(np.isfinite(gradient), touched == 0)


def test_an_unknown_dtype_is_an_error(library):
    setting = Setting(rois=4)
    features, boxes, indices = setting.draw()
    call = describe(setting, features, boxes, indices, features)
    call.dtype = 7
    pooled = pool_like(setting, boxes)
    error = library.kmrcnn_roi_align_forward_cuda(ctypes.byref(call), kernels.pointer(pooled), None)
    assert library.kmrcnn_cuda_error_string(error) == b"invalid argument"


def check(library, setting):
    """All three kernels on drawn features and boxes."""
    features, boxes, indices = setting.draw()
    compare(
        setting, KINDS, run(library, setting, features, boxes, indices), features, boxes, indices
    )


def run(library, setting, features, boxes, indices, upstream=None, place=np.copy):
    """[pooled], gradients of the fast and of the deterministic kernel; buffers start as rubbish."""
    gradients = [[np.full_like(maps, 9) for maps in features] for _ in range(2)]
    pooled = place(pool_like(setting, boxes))
    upstream = place(upstream_of(setting, boxes) if upstream is None else upstream)
    for deterministic, maps in enumerate(gradients):
        call = describe(setting, features, boxes, indices, maps)
        succeed(library.kmrcnn_roi_align_forward_cuda(*arguments(call, pooled), None))
        run_backward(library, call, upstream, deterministic)
    return [pooled], *gradients


def run_backward(library, call, upstream, deterministic):
    size = library.kmrcnn_roi_align_backward_cuda_scratch(ctypes.byref(call), deterministic)
    memory = np.full(size + 256 + GUARD, 0x7F, np.uint8)
    memory = memory[-memory.ctypes.data % 256 :]
    succeed(
        library.kmrcnn_roi_align_backward_cuda(
            *arguments(call, upstream), kernels.pointer(memory), deterministic, None
        )
    )
    assert (memory[size:] == 0x7F).all()


def arguments(call, array):
    return ctypes.byref(call), kernels.pointer(array)


def succeed(error):
    assert error == 0
