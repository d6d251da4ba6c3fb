"""The CUDA kernels, run on the CPU by `cc/cuda_emulation.h`, against the plain reference."""

import ctypes
from dataclasses import dataclass, replace

import ml_dtypes
import numpy as np
import pytest

from kmrcnn.custom_ops import build
from kmrcnn.custom_ops.roi_align import kernels
from tests.custom_ops.roi_align import numpy_reference

PYRAMID = ((40, 56), (20, 28), (10, 14), (5, 7))
KINDS = ("pooled", "fast gradient", "deterministic gradient")
GUARD = 256  # bytes behind the scratch memory that must stay as they are
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


@pytest.fixture(scope="module")
def library():
    try:
        return kernels.load(build.find_or_build("emulation"))
    except build.BuildError as error:
        pytest.skip(f"the emulated kernels cannot be compiled: {error}")


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
    compare(setting, run(library, setting, *arguments, place=place), *arguments)


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
    compare(setting, run(library, setting, features, boxes, indices), features, boxes, indices)


def compare(setting, results, features, boxes, indices):
    features = [maps.astype(np.float64) for maps in features]
    call = (features, boxes, indices, *setting.arguments())
    pooled = numpy_reference.roi_align(*call)
    gradients = numpy_reference.roi_align_gradient(upstream_of(setting, boxes), *call)
    for kind, got, want in zip(KINDS, results, ([pooled], gradients, gradients)):
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


def describe(setting, features, boxes, indices, gradients):
    dtype = DTYPES[setting.dtype][0]
    return kernels.describe(
        features, boxes, indices, *setting.arguments(), dtype=dtype, gradients=gradients
    )


def arguments(call, array):
    return ctypes.byref(call), kernels.pointer(array)


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


def succeed(error):
    assert error == 0
