"""The CPU kernels against the plain reference, for every instruction set and number of threads."""

from dataclasses import replace

import numpy as np
import pytest

from kmrcnn.custom_ops.roi_align import kernels
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

KINDS = ("pooled", "gradient")


@pytest.fixture(params=[0, 1], ids=["baseline", "avx2"])
def cpu(library, request):
    """The library, set to an instruction set."""
    if library.kmrcnn_cpu_isa(request.param) != request.param:
        pytest.skip("this CPU has no AVX2")
    yield library
    library.kmrcnn_cpu_isa(-1)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("channels", [1, 3, 8, 21, 64, 130])
def test_all_channel_counts_and_dtypes_equal_the_reference(cpu, channels, dtype):
    check(cpu, Setting(channels=channels, dtype=dtype, rois=10, maps=PYRAMID[1:]))


@pytest.mark.parametrize(
    "changes",
    [
        {"sampling_ratio": 0},
        {"sampling_ratio": 0, "aligned": False},
        {"aligned": False},
        {"sampling_ratio": 3, "output_size": (3, 5)},
        {"sampling_ratio": 0, "output_size": (5, 2)},
        {"output_size": (14, 14), "channels": 1},
        {"maps": ((40, 56),)},
        {"maps": ((1, 9), (7, 1), (1, 1)), "sampling_ratio": 0},
        {"rois": 0},
        {"channels": 0},
        {"batch": 0},
        {"maps": ((0, 0),)},
        {"maps": ((8, 8), (0, 5))},
    ],
    ids=str,
)
def test_all_options_equal_the_reference(cpu, changes):
    check(cpu, replace(Setting(), **changes))


def test_unaligned_arrays(cpu):
    setting = Setting()
    features, boxes, indices = setting.draw()
    misplaced = [misplace(maps) for maps in features]
    compare(setting, KINDS, run(cpu, setting, misplaced, boxes, indices), features, boxes, indices)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
def test_result_has_the_same_bits_for_any_number_of_threads(library, dtype):
    setting = Setting(channels=130, rois=60, dtype=dtype)
    drawn = setting.draw()
    results = [run(library, setting, *drawn, threads=threads) for threads in (1, 2, 3, 7, 16)]
    for other in results[1:]:
        for got, want in zip(other, results[0]):
            for one, two in zip(got, want):
                np.testing.assert_array_equal(one.view("uint8"), two.view("uint8"))


def test_special_values_survive_rounding(cpu):
    """Subnormal, largest, too large, infinite and undefined numbers, in both narrow types."""
    for dtype in list(DTYPES)[1:]:
        setting = Setting(dtype=dtype, maps=((4, 4),), batch=1, output_size=(1, 1), channels=11)
        setting = replace(setting, sampling_ratio=1, aligned=False)
        values = [6e-8, 3e-5, -1e-7, 65504, 0, -0.0, np.inf, -np.inf, np.nan, 1.0009765625, 1e-40]
        values = np.array(values).astype(dtype)
        features = [np.broadcast_to(values, (1, 4, 4, 11)).copy()]
        boxes = np.array([[5, 5, 7, 7]], "float32")  # its sample is a cell's centre
        pooled, _ = run(cpu, setting, features, boxes, np.zeros(1, "int32"))
        got = pooled[0][0, 0, 0].astype("float32")
        np.testing.assert_array_equal(got, values.astype("float32"))


def test_unknown_dtype_is_an_error(library):
    setting = Setting(rois=4)
    features, boxes, indices = setting.draw()
    call = describe(setting, features, boxes, indices, features)
    call.dtype = 7
    with pytest.raises(RuntimeError, match="unknown dtype"):
        kernels.forward_cpu(library, call, pool_like(setting, boxes))
    with pytest.raises(RuntimeError, match="unknown dtype"):
        kernels.backward_cpu(library, call, pool_like(setting, boxes))


def test_instruction_set_that_is_not_known_is_not_taken(library):
    best = library.kmrcnn_cpu_isa(-1)
    assert library.kmrcnn_cpu_isa(9) == best
    assert library.kmrcnn_cpu_isa(0) == 0
    assert library.kmrcnn_cpu_isa(-1) == best


def check(library, setting):
    drawn = setting.draw()
    compare(setting, KINDS, run(library, setting, *drawn), *drawn)


def run(library, setting, features, boxes, indices, threads=2):
    """[pooled] and gradients; buffers start as rubbish."""
    gradients = [np.full_like(maps, 9) for maps in features]
    pooled = pool_like(setting, boxes)
    call = describe(setting, features, boxes, indices, gradients)
    kernels.forward_cpu(library, call, pooled, threads)
    kernels.backward_cpu(library, call, upstream_of(setting, boxes), threads)
    return [pooled], gradients
