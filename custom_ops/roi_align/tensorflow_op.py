"""RoIAlign as the compiled TensorFlow op, with its gradient."""

from __future__ import annotations

import tensorflow as tf

from kmrcnn.custom_ops.library import tensorflow_ops
from kmrcnn.custom_ops.roi_align.arguments import RoIArguments

_ATTRIBUTES = (
    "pooled_height",
    "pooled_width",
    "sampling_ratio",
    "aligned",
    "spatial_scales",
    "level_areas",
)


def roi_align(arguments: RoIArguments, sampling_ratio: int, aligned: bool):
    """Pool each box from its level, (N, P, Q, C)."""
    return tensorflow_ops().kmrcnn_roi_align(
        arguments.features,
        arguments.boxes,
        arguments.batch_indices,
        pooled_height=arguments.output_size[0],
        pooled_width=arguments.output_size[1],
        sampling_ratio=sampling_ratio,
        aligned=aligned,
        spatial_scales=[1.0 / stride for stride in arguments.strides],
        level_areas=arguments.level_areas,
    )


@tf.RegisterGradient("KmrcnnRoiAlign")
def _gradient(op, pooled_gradient):
    """Features get gradients; boxes and image indices none."""
    *features, boxes, batch_indices = op.inputs
    attributes = {name: op.get_attr(name) for name in _ATTRIBUTES}
    gradients = tensorflow_ops().kmrcnn_roi_align_grad(
        pooled_gradient, features, boxes, batch_indices, **attributes
    )
    return [*gradients, None, None]


@tf.RegisterGradient("KmrcnnRoiAlignGrad")
def _gradient_of_gradient(op, *upstream):
    """Pooling is linear: the gradient's gradient pools what comes from above."""
    _, *features, boxes, batch_indices = op.inputs
    attributes = {name: op.get_attr(name) for name in _ATTRIBUTES}
    pooled = tensorflow_ops().kmrcnn_roi_align(list(upstream), boxes, batch_indices, **attributes)
    return [pooled, *[None] * len(features), None, None]
