"""Where `roi_align_gpu.py` runs the CUDA kernels, and torchvision's beside them.

`Gpu` needs torch, `Emulation` NumPy only, `Torchvision` both torch and torchvision. All take and
give NumPy arrays of float32 at their border.
"""

import ctypes
import statistics
import time

import numpy as np

WARM_UP, BATCHES, CALLS = 5, 9, 20  # the time is the median of the batches


class Emulation:
    """The kernels on the CPU, thread by thread; its times mean nothing."""

    library = "emulation"
    dtypes = {"float32": np.float32, "float16": np.float16}
    stream = None
    name = "emulation on the CPU"

    def put(self, array, dtype):
        return np.ascontiguousarray(array, self.dtypes.get(dtype, dtype))

    def get(self, array):
        return array.astype(np.float32)

    def empty(self, shape, dtype):
        return self.put(np.full(shape, 7), dtype)  # rubbish that a kernel must overwrite

    def copy(self, array):
        return array.copy()

    def equal(self, one, other):
        return np.array_equal(one, other)

    def seconds(self, work):
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    def copy_rate(self):
        return 1e10


class Gpu:
    """The GPU that torch sees first."""

    library = "kernels"
    place = "cuda"

    def __init__(self):
        import torch

        self.torch = torch
        self.dtypes = {name: getattr(torch, name) for name in ("float32", "float16", "bfloat16")}
        self.name = f"{torch.cuda.get_device_name()}, torch {torch.__version__}"

    @property
    def stream(self):
        return ctypes.c_void_p(self.torch.cuda.current_stream().cuda_stream)

    def put(self, array, dtype):
        tensor = self.torch.from_numpy(np.ascontiguousarray(array))
        return tensor.to(self.place, self.dtypes.get(dtype))

    def get(self, tensor):
        return tensor.float().cpu().numpy()

    def empty(self, shape, dtype):
        dtype = self.dtypes.get(dtype, self.torch.uint8)
        return self.torch.full(shape, 7, dtype=dtype, device=self.place)

    def copy(self, tensor):
        return tensor.clone()

    def equal(self, one, other):
        return self.torch.equal(one, other)

    def seconds(self, work):
        """Of one call, by CUDA events around batches of calls."""
        for _ in range(WARM_UP):
            work()
        return statistics.median(self._batch(work) for _ in range(BATCHES)) / CALLS

    def _batch(self, work):
        start, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.torch.cuda.synchronize()
        start.record()
        for _ in range(CALLS):
            work()
        end.record()
        self.torch.cuda.synchronize()
        return start.elapsed_time(end) / 1e3

    def copy_rate(self):
        """Bytes per second, read and written, of a copy within the device."""
        source = self.torch.ones(1 << 30, dtype=self.torch.uint8, device=self.place)
        target = self.torch.empty_like(source)
        return 2 * source.numel() / self.seconds(lambda: target.copy_(source))


class Torchvision:
    """torchvision's operator, a call per level, NCHW; RoIs are sorted by level beforehand."""

    def __init__(self):
        import torch
        import torchvision

        self.torch = torch
        self.forward = torch.ops.torchvision.roi_align
        self.backward = torch.ops.torchvision._roi_align_backward
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.name = f"torchvision {torchvision.__version__} on {self.device}"

    def prepare(self, features, boxes, indices, levels, strides, bins, ratio, dtype):
        """(pool, differentiate): functions that return a tensor a level.

        `differentiate` takes what `split` gives. In float16 torchvision wants boxes in float16 too:
        good for its times, not for values.
        """
        torch = self.torch
        dtype = getattr(torch, dtype)
        self.order = [np.flatnonzero(levels == level) for level in range(len(features))]
        rois = np.concatenate([indices[:, None], boxes], 1).astype(np.float32)
        rois = [torch.from_numpy(rois[own]).to(self.device, dtype) for own in self.order]
        maps = [self._nchw(level, dtype) for level in features]
        scales = [1 / stride for stride in strides]

        def pool():
            return [
                self.forward(x, own, scale, bins, bins, ratio, True)
                for x, own, scale in zip(maps, rois, scales)
            ]

        def differentiate(upstream):
            return [
                self.backward(up, own, scale, bins, bins, *x.shape, ratio, True)
                for up, own, scale, x in zip(upstream, rois, scales, maps)
            ]

        return pool, differentiate

    def split(self, pooled_gradient, dtype):
        """The gradient of each level's RoIs, for `differentiate`."""
        dtype = getattr(self.torch, dtype)
        return [self._nchw(pooled_gradient[own], dtype) for own in self.order]

    def join(self, pooled):
        """(N, bins, bins, C) of what `pool` gives."""
        parts = self.get(pooled)
        result = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), np.float32)
        for own, part in zip(self.order, parts):
            result[own] = part
        return result

    def get(self, tensors):
        return [tensor.permute(0, 2, 3, 1).float().cpu().numpy() for tensor in tensors]

    def _nchw(self, array, dtype):
        tensor = self.torch.from_numpy(array).to(self.device, dtype)
        return tensor.permute(0, 3, 1, 2).contiguous()
