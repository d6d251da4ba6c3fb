"""Values and times of one case of `roi_align_gpu.py`."""

import ctypes
import os
from dataclasses import dataclass, field
from functools import partial

import numpy as np

STRIDES = (4, 8, 16, 32)
LEVEL_AREAS = (112.0**2, 224.0**2, 448.0**2)
SCRATCH_ALIGNMENT = 256
REPEATS = 20  # of the deterministic backward, which must give the same bits
TOLERANCE = {"float32": 1e-5, "float16": 2.0**-10, "bfloat16": 2.0**-7}  # of the largest value
PEER_DTYPES = ("float32", "float16")


@dataclass(frozen=True)
class Case:
    rois: int
    bins: int  # along each axis
    batch: int
    ratio: int  # samples per bin and axis; 0: as many as the bin has cells
    channels: int = 256
    sizes: tuple[tuple[int, int], ...] = ((200, 304), (100, 152), (50, 76), (25, 38))

    def __str__(self):
        sampling = f"sampling {self.ratio}" if self.ratio else "adaptive"
        return f"{self.rois} RoIs {self.bins}x{self.bins}, batch {self.batch}, {sampling}"

    def options(self):
        """Of `kernels.describe`."""
        return {
            "strides": STRIDES,
            "output_size": (self.bins, self.bins),
            "sampling_ratio": self.ratio,
            "aligned": True,
            "level_areas": LEVEL_AREAS,
        }

    def draw(self):
        """Features, boxes (N, 4) xyxy, image and level of each box, pooled gradient."""
        random = np.random.default_rng(0)
        features = [
            random.standard_normal((self.batch, *size, self.channels), np.float32)
            for size in self.sizes
        ]
        height, width = (STRIDES[0] * side for side in self.sizes[0])
        side = np.exp(random.uniform(np.log(12), np.log(0.875 * height), self.rois))
        shape = np.sqrt(np.exp(random.uniform(np.log(0.5), np.log(2), self.rois)))
        h, w = np.minimum(side * shape, height - 1), np.minimum(side / shape, width - 1)
        y, x = random.uniform(0, height - h), random.uniform(0, width - w)
        boxes = np.stack([x, y, x + w, y + h], 1).astype(np.float32)
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        levels = sum((area >= smallest).astype(int) for smallest in LEVEL_AREAS)
        indices = np.arange(self.rois, dtype=np.int32) % self.batch
        shape = (self.rois, self.bins, self.bins, self.channels)
        return features, boxes, indices, levels, random.standard_normal(shape, np.float32)


@dataclass
class Row:
    """Results of one case in one dtype. Times are seconds."""

    case: str
    dtype: str
    times: dict[str, float] = field(default_factory=dict)
    peer: dict[str, float] = field(default_factory=dict)  # torchvision's times
    floors: dict[str, float] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)  # of the largest value
    wrong: list[str] = field(default_factory=list)

    def compare(self, what, got, want):
        """Notes the largest difference of two lists of arrays."""
        largest = max(np.abs(array).max(initial=1e-30) for array in want)
        error = max(np.abs(one - other).max(initial=0) for one, other in zip(got, want))
        self.errors[what] = float(error / largest)
        if not self.errors[what] <= TOLERANCE[self.dtype]:  # nor if it is NaN
            self.wrong.append(f"{what}: differs by {self.errors[what]:.1e} of the largest value")


class Calls:
    """The kernels' arguments for one case, on a device."""

    def __init__(self, device, kernels, library, case, data, dtype):
        features, boxes, indices, _, upstream = data
        self.device, self.kernels, self.library = device, kernels, library
        self.features = [device.put(maps, dtype) for maps in features]
        self.upstream = device.put(upstream, dtype)
        self.pooled = device.empty(upstream.shape, dtype)
        self.gradients = [device.empty(maps.shape, dtype) for maps in features]
        self.geometry = device.put(boxes, "float32"), device.put(indices, np.int32)
        self.call = kernels.describe(
            self.features,
            *self.geometry,
            **case.options(),
            dtype=getattr(kernels, dtype.upper()),
            gradients=self.gradients,
        )
        sizes = [
            library.kmrcnn_roi_align_backward_cuda_scratch(ctypes.byref(self.call), way)
            for way in (0, 1)
        ]
        self.scratch = device.empty((max(sizes) + SCRATCH_ALIGNMENT,), np.uint8)

    def forward(self):
        self._succeed(
            self.library.kmrcnn_roi_align_forward_cuda(
                ctypes.byref(self.call), self.kernels.pointer(self.pooled), self.device.stream
            )
        )

    def backward(self, deterministic):
        start = self.kernels.pointer(self.scratch).value
        start += -start % SCRATCH_ALIGNMENT
        self._succeed(
            self.library.kmrcnn_roi_align_backward_cuda(
                ctypes.byref(self.call),
                self.kernels.pointer(self.upstream),
                ctypes.c_void_p(start),
                deterministic,
                self.device.stream,
            )
        )

    def repeats_bits(self):
        """Whether the deterministic backward gives what it gave before, again and again."""
        self.backward(1)
        first = [self.device.copy(gradient) for gradient in self.gradients]
        for _ in range(REPEATS):
            self.backward(1)
            if not all(map(self.device.equal, self.gradients, first)):
                return False
        return True

    def _succeed(self, error):
        if error:
            raise RuntimeError(self.library.kmrcnn_cuda_error_string(error).decode())


def measure(device, kernels, library, peer, case, data, dtype):
    """A `Row` without floors."""
    row = Row(str(case), dtype)
    calls = Calls(device, kernels, library, case, data, dtype)
    works = {
        "forward": calls.forward,
        "fast backward": partial(calls.backward, 0),
        "deterministic backward": partial(calls.backward, 1),
    }
    results = {}
    for name, work in works.items():
        work()
        outputs = [calls.pooled] if name == "forward" else calls.gradients
        results[name] = [device.get(output) for output in outputs]
    rounded = [device.get(maps) for maps in calls.features], *data[1:4], device.get(calls.upstream)
    pooled, gradients = _compute_on_cpu(kernels, library, case, rounded)
    _compare_all(row, results, pooled, gradients, "the CPU kernels")
    if peer:
        _compare_all(row, results, *_compute_with_peer(peer, case, rounded), "torchvision")
    if not calls.repeats_bits():
        row.wrong.append("deterministic backward: the bits differ from run to run")
    row.times = {name: device.seconds(work) for name, work in works.items()}
    if peer and dtype in PEER_DTYPES:
        row.peer = _time_peer(device, peer, case, rounded, dtype)
    return row


def _compare_all(row, results, pooled, gradients, source):
    row.compare(f"forward against {source}", results["forward"], [pooled])
    for name in ("fast backward", "deterministic backward"):
        row.compare(f"{name} against {source}", results[name], gradients)


def _compute_on_cpu(kernels, library, case, data):
    features, boxes, indices, _, upstream = data
    pooled, gradients = np.empty_like(upstream), [np.empty_like(maps) for maps in features]
    call = kernels.describe(features, boxes, indices, **case.options(), gradients=gradients)
    kernels.forward_cpu(library, call, pooled, os.cpu_count())
    kernels.backward_cpu(library, call, upstream, os.cpu_count())
    return pooled, gradients


def _compute_with_peer(peer, case, data):
    pool, differentiate = peer.prepare(*data[:4], STRIDES, case.bins, case.ratio, "float32")
    return peer.join(pool()), peer.get(differentiate(peer.split(data[4], "float32")))


def _time_peer(device, peer, case, data, dtype):
    pool, differentiate = peer.prepare(*data[:4], STRIDES, case.bins, case.ratio, dtype)
    upstream = peer.split(data[4], dtype)
    return {
        "forward": device.seconds(pool),
        "backward": device.seconds(partial(differentiate, upstream)),
    }
