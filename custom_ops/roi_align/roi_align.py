"""RoIAlign over a feature pyramid: one function, and the one place that chooses its form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import keras

from kmrcnn.custom_ops import library
from kmrcnn.custom_ops.roi_align import reference
from kmrcnn.custom_ops.roi_align.arguments import check_sampling_ratio, uniform_arguments

Form = Literal["compiled", "crop_and_resize", "reference"]
COMPILED_DTYPES = ("float32", "float16", "bfloat16")


def roi_align(
    features,
    boxes,
    batch_indices,
    strides: float | Sequence[float],
    output_size: int | tuple[int, int],
    sampling_ratio: int = 0,
    aligned: bool = True,
    level_areas: Sequence[float] = (),
    *,
    form: Form | Callable | None = None,
):
    """Pool each box from the map of the pyramid that fits its size (He et al. 2017, section 3).

    Every bin is the mean of bilinear samples at regular points. A sample more than one cell outside
    the map is 0, one within a cell of it is clamped to the border. Equal to torchvision's and
    Detectron2's operator on every box that lies within four times the map.

    Odd boxes: one with a coordinate that is not finite, or with an image index outside 0..B-1,
    gives zeros. An inverted or empty box is sampled backwards or at one point under fixed sampling
    and gives zeros under adaptive sampling, if `aligned`; otherwise its sides count as one cell.
    Adaptive sampling takes at most max(ceil(4 * map length / bins), 8) samples per bin and axis, so
    the work for a box is bounded however far it reaches.

    Args:
        features: L maps (B, h_l, w_l, C), finest first, at most 8; or one map. float32, float16 or
            bfloat16; sums are float32 in the compiled form.
        boxes: (N, 4) float32, xyxy, pixels of the network frame; N may be 0.
        batch_indices: (N,) int32, image of each box.
        strides: L strides of the maps, pixels; or one number.
        output_size: Bins (height, width) P, Q, or one number for both.
        sampling_ratio: Samples per bin and axis, at most 64; 0: ceil(bin size) for each box and
            axis.
        aligned: Shift by half a cell before sampling, so that cell centres sit at integers
            (Detectron2's ROIAlignV2). torchvision's models do not.
        level_areas: L - 1 ascending areas, pixels^2: a box of area >= level_areas[k - 1] belongs to
            level k or above; `fpn_level_areas` makes them.
        form: Which implementation; None chooses. "compiled" is the library's op; "crop_and_resize"
            is made of TensorFlow's ops, fixed sampling only; "reference" is keras.ops, which runs
            on every backend, under XLA and in exported graphs. A function of (`RoIArguments`,
            sampling_ratio, aligned) is a form of one's own.

    Returns:
        (N, P, Q, C) in the dtype of the features. Features get gradients, boxes none.

    Raises:
        ValueError: If an argument has a wrong shape or value.
        RuntimeError: If form="compiled" and there is no library.
        OSError: If KMRCNN_OPS=require and there is none.

    Example:
        >>> areas = fpn_level_areas(2, 5)
        >>> pooled = roi_align([p2, p3, p4, p5], boxes, images, (4, 8, 16, 32), 7, 2,
        ...                    level_areas=areas)
    """
    arguments = uniform_arguments(features, boxes, batch_indices, strides, output_size, level_areas)
    sampling_ratio = check_sampling_ratio(sampling_ratio, lowest=0)
    dtype = keras.backend.standardize_dtype(arguments.features[0].dtype)
    pool = _implementation(form or choose_form(sampling_ratio, dtype), sampling_ratio)
    return pool(arguments, sampling_ratio, bool(aligned))


def choose_form(sampling_ratio: int, dtype: str = "float32") -> Form:
    """The fastest form that can be had here and now.

    Inside a function that XLA compiles (`jit_compile=True`) only the reference form is known to it.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow" and _traced_for_xla():
        return "reference"
    if dtype in COMPILED_DTYPES and library.is_compiled():
        return "compiled"
    if backend == "tensorflow" and sampling_ratio > 0:
        return "crop_and_resize"
    return "reference"


def _implementation(form: Form | Callable, sampling_ratio: int):
    """The forms are imported when they are used: each needs its own framework."""
    if callable(form):
        return form
    backend = keras.backend.backend()
    if form == "compiled":
        if not library.is_compiled():
            raise RuntimeError(
                f"form='compiled' needs the compiled library, which is not there for {backend}; "
                "`python -m kmrcnn.custom_ops` tells why."
            )
        if backend == "jax":
            from kmrcnn.custom_ops.roi_align import jax_op

            return jax_op.roi_align
        from kmrcnn.custom_ops.roi_align import tensorflow_op

        return tensorflow_op.roi_align
    if form == "crop_and_resize":
        if backend != "tensorflow" or sampling_ratio == 0:
            raise ValueError(
                "form='crop_and_resize' needs the TensorFlow backend and `sampling_ratio` > 0. "
                f"Received: backend {backend!r}, sampling_ratio={sampling_ratio}"
            )
        from kmrcnn.custom_ops.roi_align import crop_and_resize

        return crop_and_resize.roi_align
    if form == "reference":
        return reference.roi_align
    raise ValueError(
        "`form` must be None, 'compiled', 'crop_and_resize' or 'reference'. "
        f"Received: form={form!r}"
    )


def _traced_for_xla() -> bool:
    """Whether TensorFlow is tracing a function that XLA will compile."""
    import tensorflow as tf
    from tensorflow.python.ops import control_flow_util  # no public name tells

    if tf.executing_eagerly():
        return False
    return control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())
