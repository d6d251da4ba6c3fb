"""Random calls of the CPU kernels under AddressSanitizer and UndefinedBehaviorSanitizer.

    python custom_ops/roi_align/fuzz.py --calls 300

Run by hand, in a checkout: it compiles the kernels with both sanitizers and starts itself again
with their runtime loaded first. A finding ends the run with the sanitizer's report. Sizes, types,
boxes (inverted, empty, far away, not finite), images that do not exist, instruction sets and
numbers of threads are drawn; values are compared with the plain loops of the tests.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
TESTS = HERE.parents[1] / "tests" / "custom_ops" / "roi_align"
ARMED = "KMRCNN_FUZZ_ARMED"  # set in the process that has the sanitizers' runtime


def main() -> None:
    """Builds, restarts under the sanitizers, and runs the calls."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", default=300, type=int)
    parser.add_argument("--seed", default=0, type=int)
    args = parser.parse_args()
    if ARMED not in os.environ:
        sys.exit(_restart_armed())
    kernels, loops = _load(HERE / "kernels.py"), _load(TESTS / "numpy_reference.py")
    library = kernels.load(os.environ[ARMED])
    compared = 0
    for number in range(args.calls):
        compared += _one_call(kernels, library, loops, np.random.default_rng([args.seed, number]))
        if number % 25 == 24:
            print(f"{number + 1} of {args.calls} calls", flush=True)
    print(f"{args.calls} calls without a finding; {compared} compared with the plain loops")


def _restart_armed() -> int:
    library = _load(HERE.parent / "build.py").find_or_build("sanitized")
    compiler = os.environ.get("CXX", "g++")
    runtimes = [
        subprocess.run(
            [compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    environment = os.environ | {
        ARMED: str(library),
        "LD_PRELOAD": ":".join(runtimes),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python's own
        "OPENBLAS_NUM_THREADS": "1",
    }
    return subprocess.run([sys.executable, *sys.argv], env=environment).returncode


def _load(path: Path):
    """A module by its path: the package would import TensorFlow, which no sanitizer likes."""
    sys.path.insert(0, str(HERE.parents[1]))  # build.py asks kmrcnn for the cache folder
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _one_call(kernels, library, loops, draw) -> bool:
    """Forward and backward of one drawn call. Returns whether its values were compared."""
    number, channels, images = (int(draw.integers(*r)) for r in ((0, 12), (1, 70), (1, 4)))
    levels = int(draw.integers(1, 5))
    size = tuple(int(n) for n in draw.integers(1, 6, 2))
    shapes = [(images, *map(int, draw.integers(1, 20, 2)), channels) for _ in range(levels)]
    boxes, indices = _boxes(draw, number), draw.integers(-1, images + 1, number).astype("int32")
    settings = {
        "strides": [float(draw.choice([1, 2, 4, 16])) for _ in range(levels)],
        "output_size": size,
        "sampling_ratio": int(draw.integers(0, 4)),
        "aligned": bool(draw.integers(2)),
        "level_areas": sorted(draw.uniform(1, 5000, levels - 1).tolist()),
    }
    dtype = int(draw.integers(3))
    storage = ("float32", "float16", "uint16")[dtype]  # NumPy has no bfloat16
    values = [draw.normal(size=shape).astype("float32") for shape in shapes]
    maps = [_store(v, dtype) for v in values]
    gradients = [np.empty(shape, storage) for shape in shapes]
    call = kernels.describe(maps, boxes, indices, **settings, dtype=dtype, gradients=gradients)
    library.kmrcnn_cpu_isa(int(draw.integers(2)))
    pooled = np.empty((number, *size, channels), storage)
    kernels.forward_cpu(library, call, pooled, int(draw.integers(1, 5)))
    kernels.backward_cpu(library, call, pooled, int(draw.integers(1, 5)))
    if dtype != kernels.FLOAT32 or not number:
        return False
    want = loops.roi_align(values, boxes, indices, **settings)
    np.testing.assert_allclose(pooled, want, atol=1e-4)
    wanted = loops.roi_align_gradient(pooled, values, boxes, indices, **settings)
    for got, want in zip(gradients, wanted):
        np.testing.assert_allclose(got, want, atol=1e-4 * max(1, np.abs(want).max()))
    return True


def _boxes(draw, number: int) -> np.ndarray:
    scale = draw.choice([1, 20, 100, 1e4], size=(number, 1))
    boxes = draw.normal(size=(number, 4)) * scale
    inverted = draw.random((number, 1)) < 0.2
    boxes[:, 2:] = np.where(inverted, boxes[:, 2:], boxes[:, :2] + np.abs(boxes[:, 2:]))
    odd = draw.random((number, 4)) < 0.03
    boxes[odd] = draw.choice([np.nan, np.inf, -np.inf, 1e30, -1e30, 3e38, 0.0], size=odd.sum())
    return boxes.astype("float32")


def _store(values: np.ndarray, dtype: int) -> np.ndarray:
    if dtype == 2:
        return (values.view("uint32") >> 16).astype("uint16")
    return values.astype("float16") if dtype == 1 else values


if __name__ == "__main__":
    main()
