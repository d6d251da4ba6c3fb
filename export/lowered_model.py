"""A model's twin for a runtime: the same weights, other forms of RoIAlign and NMS."""

from __future__ import annotations

import dataclasses

import keras

from kmrcnn.config.schema import ModelConfig
from kmrcnn.models.build import build_model
from kmrcnn.models.generalized_rcnn import GeneralizedRCNN
from kmrcnn.structures.lowering import Lowering

POLICIES = {"float32": "float32", "float16": "mixed_float16"}


def lowered_model(
    model: GeneralizedRCNN,
    lowering: Lowering,
    *,
    precision: str = "float32",
    fold_batch_norm: bool = False,
    **changes,
) -> GeneralizedRCNN:
    """Builds the model again with other forms of its operations, and copies the weights.

    Args:
        model: The model.
        lowering: The forms.
        precision: "float32", or "float16": convolutions and matrix products compute in float16
            while weights, boxes, RoIAlign, NMS and scores keep float32.
        fold_batch_norm: Batch norm with its statistics fixed goes into the convolutions before it,
            as a frozen one does.
        **changes: As for `changed_config`.

    Returns:
        A model of its own variables.
    """
    config = changed_config(model.config, **changes)
    if fold_batch_norm:
        config = _with_frozen_norms(config)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(POLICIES[precision])
    try:
        twin = build_model(config, model.name, lowering=lowering)
    finally:
        keras.config.set_dtype_policy(before)
    for ours, theirs in zip(twin.weights, model.weights, strict=True):
        ours.assign(theirs)
    return twin


def changed_config(
    config: ModelConfig,
    *,
    score_threshold: float | None = None,
    nms_threshold: float | None = None,
    max_detections: int | None = None,
    sampling_ratio: int | None = None,
    pre_nms_top_n: int | None = None,
) -> ModelConfig:
    """The configuration with other settings of detection; None leaves one as it is.

    Args:
        config: The model's.
        score_threshold: Detections score more than this.
        nms_threshold: Overlap (IoU) from which the weaker of two boxes of a class goes.
        max_detections: D, per picture.
        sampling_ratio: Of RoIAlign.
        pre_nms_top_n: Anchors kept per level before NMS.

    Raises:
        ValueError: A value is outside its range.
    """
    box = {
        "score_threshold": score_threshold,
        "nms_threshold": nms_threshold,
        "max_detections": max_detections,
    }
    box = {name: value for name, value in box.items() if value is not None}
    pooler = {} if sampling_ratio is None else {"sampling_ratio": sampling_ratio}
    rpn = {} if pre_nms_top_n is None else {"pre_nms_top_n": pre_nms_top_n}
    return dataclasses.replace(
        config,
        rpn=dataclasses.replace(config.rpn, **rpn),
        box=dataclasses.replace(config.box, **box),
        pooler=dataclasses.replace(config.pooler, **pooler),
    )


def _with_frozen_norms(config: ModelConfig) -> ModelConfig:
    """The weights of both norms are the same four vectors, in the same order."""
    parts = {}
    for name in ("backbone", "neck", "box", "mask"):
        part = getattr(config, name)
        if part is not None and part.norm in ("batch_norm", "sync_batch_norm"):
            parts[name] = dataclasses.replace(part, norm="frozen_batch_norm")
    return dataclasses.replace(config, **parts)
