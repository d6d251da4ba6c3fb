"""RoIAlign as a JAX foreign function over the same kernels, with its gradient."""

from __future__ import annotations

import functools

import jax
import numpy as np

from kmrcnn.custom_ops.library import jax_library
from kmrcnn.custom_ops.roi_align.arguments import RoIArguments


def roi_align(arguments: RoIArguments, sampling_ratio: int, aligned: bool):
    """Pool each box from its level, (N, P, Q, C)."""
    _register()
    return _pool(
        tuple(arguments.features),
        arguments.boxes,
        arguments.batch_indices,
        (*arguments.output_size, sampling_ratio, int(aligned)),
        tuple(1.0 / stride for stride in arguments.strides),
        (0.0, *arguments.level_areas),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _pool(features, boxes, batch_indices, settings, scales, level_areas):
    shape = (boxes.shape[0], *settings[:2], features[0].shape[-1])
    call = jax.ffi.ffi_call(
        "kmrcnn_jax_forward", jax.ShapeDtypeStruct(shape, features[0].dtype), vmap_method=None
    )
    return call(*features, boxes, batch_indices, **_attributes(settings, scales, level_areas))


def _pool_forward(features, boxes, batch_indices, *attributes):
    return _pool(features, boxes, batch_indices, *attributes), (features, boxes, batch_indices)


def _pool_backward(settings, scales, level_areas, inputs, pooled_gradient):
    features, boxes, batch_indices = inputs
    shapes = [jax.ShapeDtypeStruct(maps.shape, maps.dtype) for maps in features]
    call = jax.ffi.ffi_call("kmrcnn_jax_backward", shapes)
    gradients = call(
        pooled_gradient,
        *features,
        boxes,
        batch_indices,
        **_attributes(settings, scales, level_areas),
    )
    return tuple(gradients), None, None


_pool.defvjp(_pool_forward, _pool_backward)


def _attributes(settings, scales, level_areas) -> dict[str, np.ndarray]:
    return {
        "settings": np.array(settings, "int64"),
        "scales": np.array(scales, "float32"),
        "level_areas": np.array(level_areas, "float32"),
    }


@functools.cache
def _register() -> None:
    library = jax_library()
    for name in ("kmrcnn_jax_forward", "kmrcnn_jax_backward"):
        for platform, symbol in (("cpu", name), ("CUDA", f"{name}_cuda")):
            if hasattr(library, symbol):
                handler = jax.ffi.pycapsule(getattr(library, symbol))
                jax.ffi.register_ffi_target(name, handler, platform)
