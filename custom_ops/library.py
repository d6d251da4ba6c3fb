"""The compiled library, loaded at first use: whether there is one, and what to do if there is none.

`KMRCNN_OPS` says how: "auto" (the default) compiles it if need be and falls back with one warning,
"require" turns a missing library into an error, "off" never looks for one.
"""

from __future__ import annotations

import ctypes
import functools
import os
import warnings
from pathlib import Path
from types import ModuleType

import keras

from kmrcnn.custom_ops import build

MODES = ("auto", "require", "off")
_CPU_ONLY = (
    "it was compiled without nvcc and has no GPU kernels, and taking the features of a GPU through "
    "the CPU would cost more than it saves"
)


def is_compiled() -> bool:
    """Whether RoIAlign runs as compiled code under the present Keras backend.

    Compiles the library if that has not been done yet.

    Raises:
        OSError: If KMRCNN_OPS=require and it cannot be had.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return tensorflow_ops() is not None
    return backend == "jax" and jax_library() is not None


@functools.cache
def tensorflow_ops() -> ModuleType | None:
    """TensorFlow's module of the ops, or None where another form serves."""

    def load(path: Path) -> ModuleType:
        import tensorflow as tf

        ops = tf.load_op_library(str(path))
        if not hasattr(ops, "kmrcnn_roi_align"):
            ops = _registered_ops()
        if tf.config.list_physical_devices("GPU") and not has_gpu_kernels(path):
            raise build.BuildError(_CPU_ONLY)
        return ops

    return _obtain("tensorflow", load)


def _registered_ops() -> ModuleType:
    """The module for ops that the process has registered already.

    TensorFlow lists the ops that register while it opens a file: none, if the file or a copy of it
    has been open before (by ctypes, or beside an exported model).
    """
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.framework import _pywrap_python_op_gen, op_def_registry

    names = ("KmrcnnRoiAlign", "KmrcnnRoiAlignGrad")
    ops = op_def_pb2.OpList(op=[op_def_registry.get(name) for name in names])
    module = ModuleType("kmrcnn_registered_ops")
    exec(_pywrap_python_op_gen.GetPythonWrappers(ops.SerializeToString()), module.__dict__)
    return module


@functools.cache
def jax_library() -> ctypes.CDLL | None:
    """The library of JAX's handlers, or None where the portable form serves."""

    def load(path: Path) -> ctypes.CDLL:
        import jax

        if jax.default_backend() != "cpu" and not has_gpu_kernels(path):
            raise build.BuildError(_CPU_ONLY)
        return ctypes.CDLL(str(path))

    return _obtain("jax", load)


def has_gpu_kernels(path: Path) -> bool:
    """Whether a library was built with CUDA."""
    return hasattr(ctypes.CDLL(str(path)), "kmrcnn_roi_align_forward_cuda")


def _obtain(target: str, load):
    """What `load` makes of the library, or None after a warning; raises under "require"."""
    mode = os.environ.get("KMRCNN_OPS", "auto")
    if mode not in MODES:
        raise ValueError(f"`KMRCNN_OPS` must be one of {', '.join(MODES)}. Received: {mode!r}")
    if mode == "off":
        return None
    try:
        return _load_or_rebuild(target, load)
    except (build.BuildError, OSError) as error:
        if mode == "require":
            raise build.BuildError(
                f"KMRCNN_OPS=require, but the compiled RoIAlign cannot be had: {error}"
            ) from error
        warnings.warn(
            f"The compiled RoIAlign cannot be had: {str(error).splitlines()[0]}. A slower form "
            "of the same operator serves. `python -m kmrcnn.custom_ops` tells more; KMRCNN_OPS=off "
            "silences this.",
            RuntimeWarning,
            stacklevel=2,
        )
        return None


def _load_or_rebuild(target: str, load):
    """A cached library that does not load was made for another TensorFlow: it is made anew."""
    for _ in range(2):
        path = build.find_or_build(target)
        try:
            return load(path)
        except Exception as error:
            if not _does_not_load(error):
                raise
            failure = error
            build.discard(path)
    raise build.BuildError(f"the library just built does not load: {failure}") from failure


def _does_not_load(error: Exception) -> bool:
    """Ctypes says OSError, TensorFlow its own NotFoundError."""
    if isinstance(error, build.BuildError):
        return False
    return isinstance(error, OSError) or type(error).__name__ == "NotFoundError"
