"""`python -m kmrcnn.custom_ops`: compile the library ahead of time, and test the operator."""

from __future__ import annotations

import argparse
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from kmrcnn.cli.quiet import import_quietly
from kmrcnn.custom_ops import build

TOLERANCE = 1e-4  # of the self-test; all forms of the operator keep it
_EPILOG = """\
Without this command the library is compiled when it is first used. These environment variables
count: CXX, CUDA_HOME, KMRCNN_CUDA (auto, off or require), KMRCNN_CUDA_ARCHS, KMRCNN_CACHE.

No GPU is seen while a Docker image is made: set KMRCNN_CUDA_ARCHS there with ENV, or the library is
compiled again for the GPUs that are found later.

exit code:
  0 the library is there and passed, 1 a check failed, 2 wrong usage or no library

examples:
  python -m kmrcnn.custom_ops
  python -m kmrcnn.custom_ops --check
  KMRCNN_CUDA=require KMRCNN_CUDA_ARCHS="80;90" python -m kmrcnn.custom_ops
"""
_RAMP = [[5.0 * row + column for column in range(5)] for row in range(5)]
_INSIDE, _OUTSIDE, _SMALL = (1, 1, 3, 3), (-3, -3, 2, 2), (2, 2, 2.2, 2.2)
_POOLED = [  # of the ramp: box, sampling ratio, aligned, what torchvision's operator gives
    (_INSIDE, 2, False, [[7.5 + 2.5 * y + 0.5 * x for x in range(4)] for y in range(4)]),
    (_INSIDE, 0, True, [[4.5 + 2.5 * y + 0.5 * x for x in range(4)] for y in range(4)]),
    (_OUTSIDE, 0, False, [[0, 0.259259], [1.296296, 4.666667]]),
    (_OUTSIDE, 2, False, [[0, 0], [0, 4.5]]),
    (_OUTSIDE, 0, True, [[0, 0], [0, 2.666667]]),
    (_OUTSIDE, 2, True, [[0, 0], [0, 2.625]]),
    (_SMALL, 2, False, [[13.5, 14], [16, 16.5]]),
    (_SMALL, 2, True, [[9.3, 9.4], [9.8, 9.9]]),
]


def main(argv: Sequence[str] | None = None) -> int:
    """Makes a library, and tests it if asked to.

    Args:
        argv: Arguments after the program's name; None takes those of the process.

    Returns:
        Exit code, as in the help.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    if args.check and args.target != "tensorflow":
        parser.error("--check tests TensorFlow's op: leave --target away")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        _make(args.target)
        return _check() if args.check else 0
    except KeyboardInterrupt:
        print("kmrcnn: interrupted", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError, RuntimeError) as error:  # BuildError: an OSError
        print(f"kmrcnn.custom_ops: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m kmrcnn.custom_ops",
        description="Compile the library of the RoIAlign op, unless it is in the cache.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="then test the op on every device")
    parser.add_argument(
        "--target",
        choices=tuple(build.TARGETS),
        default="tensorflow",
        metavar="NAME",
        help=f"which library: {', '.join(build.TARGETS)} (default: tensorflow)",
    )
    return parser


def _make(target: str) -> None:
    """Finds or builds; what it is made of is printed first, for the case that this fails."""
    if target in ("tensorflow", "jax"):
        import_quietly(target)
    recipe = build.plan(target)
    print(f"target    {target} {recipe.version}".rstrip())
    print(f"compiler  {' '.join(recipe.compiler) or 'none'}")
    print(f"CUDA      {_describe_cuda(recipe)}", flush=True)
    start = time.perf_counter()
    there = build.find(recipe, build.cache_folder())
    path = there or build.find_or_build(target)
    origin = "from the cache" if there else f"made in {time.perf_counter() - start:.1f} s"
    kernels = "with CUDA kernels" if "_cuda_" in path.name else "without CUDA kernels"
    print(f"library   {path}\n          {kernels}, {origin}", flush=True)


def _describe_cuda(recipe: build.Recipe) -> str:
    if recipe.cuda is None:
        return f"none: {recipe.without_cuda}"
    native, ptx = build.architectures(recipe.cuda)
    capabilities = ", ".join([*native, f"{ptx} as PTX for later GPUs"])
    return f"{recipe.cuda.nvcc}, compute capability {capabilities}"


def _check() -> int:
    """Runs the operator as the models do; exit code."""
    import_quietly()
    import keras
    import tensorflow as tf

    from kmrcnn.custom_ops import is_compiled

    if keras.backend.backend() != "tensorflow":
        raise ValueError(f"--check needs KERAS_BACKEND=tensorflow, not {keras.backend.backend()}.")
    passed = is_compiled() or os.environ.get("KMRCNN_OPS") == "off"
    if not passed:
        print("FAILED    the compiled op cannot be used; another form is tested")
    for device in tf.config.list_logical_devices():
        if device.device_type in ("CPU", "GPU"):
            print(f"device    {device.name}")
            with tf.device(device.name):
                results = [_report(*check) for check in _checks(device.device_type)]
            passed = passed and all(results)
    print("all checks passed" if passed else "some checks FAILED")
    return 0 if passed else 1


def _report(name: str, measure: Callable[[], float]) -> bool:
    """Prints and tells whether a measured error is small enough."""
    import tensorflow as tf

    try:
        error = measure()
    except (RuntimeError, tf.errors.OpError) as failure:
        passed, remark = False, str(failure).splitlines()[0]
    else:
        passed, remark = error <= TOLERANCE, f"off by {error:.1e}"
    print(f"{'ok' if passed else 'FAILED':<8}  {name}: {remark}", flush=True)
    return passed


def _checks(device: str) -> Iterator[tuple[str, Callable[[], float]]]:
    """Names of checks, each with a function that gives its error."""
    from kmrcnn.custom_ops.roi_align.roi_align import COMPILED_DTYPES, choose_form

    for box, ratio, aligned, pooled in _POOLED:
        for dtype in COMPILED_DTYPES if box is _INSIDE else ("float32",):
            name = f"{choose_form(ratio, dtype)}, {dtype}, box {box}, sampling {ratio}"
            case = device, box, ratio, aligned, pooled, dtype
            yield name + ", aligned" * aligned, functools.partial(_ramp_error, *case)
    for ratio in (0, 2):
        name = f"{choose_form(ratio)}, float32, gradient over two levels, sampling {ratio}"
        yield name, functools.partial(_gradient_error, ratio)


def _ramp_error(device, box, ratio, aligned, pooled, dtype) -> float:
    """Largest difference from what is known; RuntimeError if it was computed elsewhere."""
    import tensorflow as tf

    from kmrcnn.custom_ops import roi_align

    ramp = tf.constant(np.reshape(_RAMP, (1, 5, 5, 1)), dtype)
    found = roi_align(ramp, np.array([box], "float32"), [0], 1, len(pooled), ratio, aligned)
    if f"device:{device}" not in found.device:
        raise RuntimeError(f"it ran on {found.device}")
    return float(np.abs(found.numpy()[0, :, :, 0].astype("float64") - pooled).max())


def _gradient_error(ratio: int) -> float:
    """Pooling P is linear, its gradient P' the transpose: |g.P(x) - x.P'(g)|, relative."""
    import tensorflow as tf

    from kmrcnn.custom_ops import roi_align

    random = np.random.default_rng(0)
    shapes = (2, 16, 20, 8), (2, 8, 10, 8)
    maps = [tf.constant(random.uniform(0, 1, shape), "float32") for shape in shapes]
    corners = random.uniform(-10, 60, (20, 2))
    boxes = np.concatenate([corners, corners + random.uniform(1, 50, (20, 2))], 1).astype("float32")
    weights = tf.constant(random.uniform(0, 1, (20, 3, 3, 8)), "float32")

    def weighted_sum(features):
        pooled = roi_align(features, boxes, [0, 1] * 10, (4, 8), 3, ratio, level_areas=(900.0,))
        return tf.reduce_sum(pooled * weights)

    zeros = [tf.zeros(shape) for shape in shapes]
    with tf.GradientTape() as tape:
        tape.watch(zeros)
        start = weighted_sum(zeros)
    gradients = tape.gradient(start, zeros)
    transposed = sum(float(tf.reduce_sum(x * gradient)) for x, gradient in zip(maps, gradients))
    return abs(float(weighted_sum(maps)) - transposed) / abs(transposed)


if __name__ == "__main__":
    sys.exit(main())
