"""The model of a Matterport weight file: what its shapes and its configuration say.

A user of Matterport's Mask R-CNN has a weight file and a `Config` class, as Python code or written
to JSON. The file's shapes give classes, backbone and widths; the configuration gives what has no
weights. What only concerns training is not taken over.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kmrcnn.config.schema import ModelConfig

_NO_LIMIT = 10**6  # px, longer side of a picture whose size has none
_REFUSED = {  # attribute: (what is understood, why)
    "RPN_ANCHOR_STRIDE": (1, "anchors at every cell"),
    "BACKBONE_STRIDES": ([4, 8, 16, 32, 64], "the strides of a ResNet with a pyramid"),
    "MASK_SHAPE": ([28, 28], "masks of twice the pooled side"),
    "MASK_POOL_SIZE": (14, "masks of twice the pooled side"),
}


def matterport_config(
    config: ModelConfig,
    tensors: Mapping[str, np.ndarray],
    settings: Mapping[str, Any] | None = None,
) -> ModelConfig:
    """A preset's model, changed to what a file and its configuration say.

    Args:
        config: Of the preset `matterport_coco`.
        tensors: Of `read_keras2_file`.
        settings: Attributes of the `Config` class, such as {"IMAGE_MAX_DIM": 512}; those left out
            are as in the preset.

    Returns:
        The model that the file fits. Class names are the preset's if there are as many classes,
        else unknown.

    Raises:
        ValueError: The file lacks layers, contradicts the configuration, or that has a value which
            is not understood.
    """
    settings = dict(settings or {})
    _check(settings)
    config = _of_shapes(config, _Layers(tensors), settings)
    config = _of_settings(config, settings)
    anchors = len(config.anchors.aspect_ratios)
    found = tensors["rpn_bbox_pred/kernel"].shape[-1] // 4
    if found != anchors:
        raise ValueError(
            f"The file has {found} anchors per cell, the configuration {anchors}: give its "
            "RPN_ANCHOR_RATIOS."
        )
    return config


def read_settings(path: str | Path) -> dict[str, Any]:
    """Attributes in capitals of a JSON file, or of the classes of a Python file, which is not run.

    Of a Python file the last class counts, above those before it. Values are literals, sums and
    products of them, and NumPy arrays of literals; others are left out.

    Raises:
        ValueError: Neither JSON nor Python, or no attribute in capitals.
    """
    path = Path(path)
    text = path.read_text(encoding="utf-8")
    try:
        found = _python_settings(text) if path.suffix == ".py" else json.loads(text)
    except (SyntaxError, json.JSONDecodeError) as error:
        raise ValueError(f"{str(path)!r} is no configuration: {error}") from error
    found = {k: v for k, v in found.items() if k.isupper()} if isinstance(found, dict) else {}
    if not found:
        raise ValueError(f"{str(path)!r} holds no settings such as IMAGE_MAX_DIM.")
    return found


class _Layers:
    """Shapes of a file's kernels, with a message where one is missing."""

    def __init__(self, tensors: Mapping[str, np.ndarray]):
        self.tensors = tensors

    def kernel(self, layer: str) -> tuple[int, ...]:
        if f"{layer}/kernel" not in self.tensors:
            raise ValueError(
                f"The file is not of Matterport's Mask R-CNN: it has no layer {layer!r}."
            )
        return self.tensors[f"{layer}/kernel"].shape

    def blocks(self) -> tuple[int, ...]:
        """Residual blocks of res2..res5."""
        found = {re.match(r"res(\d)([a-z])_branch2a/kernel", key) for key in self.tensors}
        stages = [match.group(1) for match in found if match]
        return tuple(stages.count(str(stage)) for stage in range(2, 6))


def _of_shapes(config: ModelConfig, layers: _Layers, settings: Mapping[str, Any]) -> ModelConfig:
    """What the weights themselves say."""
    num_classes = layers.kernel("mrcnn_class_logits")[-1] - 1
    stated = settings.get("NUM_CLASSES")
    if stated not in (None, 1, num_classes + 1):  # 1 is what the base class says
        raise ValueError(
            f"The file has {num_classes + 1} classes with the background, the configuration "
            f"NUM_CLASSES = {stated}."
        )
    if num_classes != config.num_classes:
        config = dataclasses.replace(
            config, num_classes=num_classes, class_names=None, category_ids=None
        )
    blocks, stem = layers.blocks(), layers.kernel("conv1")
    known = {(3, 4, 6, 3): "resnet50", (3, 4, 23, 3): "resnet101"}
    head = layers.kernel("mrcnn_class_conv1")
    replace = dataclasses.replace
    return replace(
        config,
        input=replace(config.input, **_for_channels(config, stem[2], settings)),
        backbone=replace(
            config.backbone,
            name=known.get(blocks, "resnet50"),
            blocks=None if blocks in known else blocks,
            stem_channels=stem[3],
            res2_channels=layers.kernel("res2a_branch2c")[3],
            width_per_group=layers.kernel("res2a_branch2a")[3],
        ),
        neck=replace(config.neck, channels=layers.kernel("fpn_p2")[3]),
        rpn=replace(config.rpn, channels=layers.kernel("rpn_conv_shared")[3]),
        box=replace(config.box, pooled_size=head[0], fc_channels=head[3]),
        mask=replace(config.mask, channels=layers.kernel("mrcnn_mask_conv1")[3]),
    )


def _for_channels(
    config: ModelConfig, channels: int, settings: Mapping[str, Any]
) -> dict[str, Any]:
    mean = settings.get("MEAN_PIXEL", config.input.mean)
    mean = tuple(float(value) for value in np.ravel(mean))
    if len(mean) != channels:
        raise ValueError(
            f"The file is for images of {channels} channels: give a MEAN_PIXEL of as many values. "
            f"Received: {list(mean)}"
        )
    return {"channels": channels, "mean": mean, "std": (1.0,) * channels}


def _of_settings(config: ModelConfig, settings: Mapping[str, Any]) -> ModelConfig:
    """What the configuration says of inference."""
    parts = {
        part: dataclasses.replace(
            getattr(config, part),
            **{
                field: convert(settings[name])
                for field, (name, convert) in fields.items()
                if name in settings
            },
        )
        for part, fields in _FIELDS.items()
    }
    parts["input"] = dataclasses.replace(parts["input"], **_frame(settings, config))
    side = parts["input"].long_side
    if parts["input"].pad_multiple == side:  # a square canvas
        # Its rule has the sides of a box in canvases less one pixel, the canvas whole.
        pooler = dataclasses.replace(config.pooler, canonical_size=224.0 * (side - 1) / side)
        parts["pooler"] = pooler
    return dataclasses.replace(config, **parts)


def _frame(settings: Mapping[str, Any], config: ModelConfig) -> dict[str, Any]:
    """IMAGE_RESIZE_MODE and what belongs to it, as fields of `config.input`."""
    mode = settings.get("IMAGE_RESIZE_MODE", "square")
    short = settings.get("IMAGE_MIN_DIM", config.input.short_side) or 1
    scale = settings.get("IMAGE_MIN_SCALE", config.input.min_scale) or 0.0
    long = settings.get("IMAGE_MAX_DIM", config.input.long_side)
    if mode == "square":
        if long % 64:
            raise ValueError(f"IMAGE_MAX_DIM must be a multiple of 64. Received: {long}")
        return {
            "short_side": short,
            "min_scale": float(scale),
            "long_side": long,
            "pad_multiple": long,
        }
    if mode in ("pad64", "none"):
        if mode == "none":
            short, scale = 1, 0.0
        return {
            "short_side": short,
            "min_scale": float(scale),
            "long_side": _NO_LIMIT,
            "pad_multiple": 64,
        }
    raise ValueError(
        f"IMAGE_RESIZE_MODE must be 'square', 'pad64' or 'none'. Received: {mode!r}. For one "
        "that trained on crops say what predictions are to use."
    )


def _check(settings: Mapping[str, Any]) -> None:
    for name, (understood, meaning) in _REFUSED.items():
        value = settings.get(name, understood)
        if np.asarray(value).tolist() != understood:
            raise ValueError(f"{name} must be {understood}: {meaning}. Received: {value}")


def _weights(deviations: Any) -> tuple[float, ...]:
    """Deviations of (y, x, height, width) -> weights of (x, y, width, height)."""
    y, x, height, width = (float(1 / value) for value in np.ravel(deviations))
    return x, y, width, height


def _ratios(values: Any) -> tuple[float, ...]:
    """Width / height -> height / width, in the same order."""
    return tuple(float(1 / value) for value in np.ravel(values))


def _sizes(values: Any) -> tuple[tuple[float], ...]:
    return tuple((float(value),) for value in np.ravel(values))


_FIELDS: dict[str, dict[str, tuple[str, Callable]]] = {  # part: {our field: (theirs, conversion)}
    "input": {},
    "anchors": {
        "sizes": ("RPN_ANCHOR_SCALES", _sizes),
        "aspect_ratios": ("RPN_ANCHOR_RATIOS", _ratios),
    },
    "rpn": {
        "nms_threshold": ("RPN_NMS_THRESHOLD", float),
        "pre_nms_top_n": ("PRE_NMS_LIMIT", int),
        "post_nms_top_n": ("POST_NMS_ROIS_INFERENCE", int),
        "post_nms_top_n_train": ("POST_NMS_ROIS_TRAINING", int),
        "box_coder_weights": ("RPN_BBOX_STD_DEV", _weights),
    },
    "box": {
        "box_coder_weights": ("BBOX_STD_DEV", _weights),
        "score_threshold": ("DETECTION_MIN_CONFIDENCE", float),
        "nms_threshold": ("DETECTION_NMS_THRESHOLD", float),
        "max_detections": ("DETECTION_MAX_INSTANCES", int),
    },
}


def _python_settings(text: str) -> dict[str, Any]:
    """Attributes of all classes of a Python file, later ones first."""
    found: dict[str, Any] = {}
    for node in ast.parse(text).body:
        if not isinstance(node, ast.ClassDef):
            continue
        for statement in node.body:
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                value = _value_of(statement.value)
                if value is not None:
                    found[statement.targets[0].id] = value
    return found


def _value_of(node: ast.expr) -> Any:
    """A literal, a sum or product of numbers, the literal in np.array([1, 2]) and the like; else
    None.
    """
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub, ast.Mult)):
        left, right = _value_of(node.left), _value_of(node.right)
        if not all(isinstance(value, (int, float)) for value in (left, right)):
            return None
        if isinstance(node.op, ast.Mult):
            return left * right
        return left + right if isinstance(node.op, ast.Add) else left - right
    if isinstance(node, ast.Call) and len(node.args) == 1:
        called = getattr(node.func, "attr", getattr(node.func, "id", None))
        return _value_of(node.args[0]) if called in ("array", "asarray", "list", "tuple") else None
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None
