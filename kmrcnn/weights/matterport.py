"""Weights of Matterport's Mask R-CNN (github.com/matterport/Mask_RCNN, Keras 2) under our names.

What its graph has and ours has not is folded into what ours has, which changes no output:

- A convolution before a batch norm has a bias; it moves the norm's mean.
- The convolutions of the mask branch and the two layers of the box branch, which it writes as
  convolutions over the whole RoI, have a batch norm; it scales kernel and bias.
- The RPN has a logit for background and one for object; their difference is what the softmax sees.
- Boxes are y, x, height, width; the background is class 0 and has a box and a mask of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from kmrcnn.weights.name_map import Rule, Source

NORM_EPSILON = 1e-3  # Keras's default, which Matterport keeps
_VECTORS = ("gamma", "beta", "moving_mean", "moving_variance")
_XYWH = [1, 0, 3, 2]  # places of x, y, width, height in (y, x, height, width)
_BLOCK = re.compile(r"res(\d)([a-z])_branch(1|2[abc])")
_CONVS = {  # ours, of convolutions that are taken as they are
    "rpn_conv_shared": "rpn/conv1",
    "mrcnn_mask_deconv": "roi_heads/mask/deconv",
    **{f"fpn_c{i}p{i}": f"neck/lateral{i}" for i in range(2, 6)},
    **{f"fpn_p{i}": f"neck/output{i}" for i in range(2, 6)},
}
_FOLDED = {  # (layer, its norm): ours, of layers that take up their norm
    ("mrcnn_class_conv1", "mrcnn_class_bn1"): "roi_heads/box/fc1",
    ("mrcnn_class_conv2", "mrcnn_class_bn2"): "roi_heads/box/fc2",
    **{
        (f"mrcnn_mask_conv{i}", f"mrcnn_mask_bn{i}"): f"roi_heads/mask/conv{i}" for i in range(1, 5)
    },
}


def to_our_names(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Our names and arrays in Keras's layouts.

    Args:
        tensors: Of `read_keras2_file`. Layers that are missing give nothing; those of other names
            stay as they are.
    """
    rest = dict(tensors)
    ours: dict[str, np.ndarray] = {}
    layers = {key.rpartition("/")[0] for key in tensors}
    for layer in sorted(layers):
        if name := _backbone_name(layer):
            ours |= _with_moved_mean(name, _take(rest, layer), _take(rest, _norm_of(layer)))
    for layer, name in _CONVS.items():
        ours |= _named(name, _take(rest, layer))
    for (layer, norm), name in _FOLDED.items():
        folded = _fold(_take(rest, layer), _take(rest, norm))
        ours |= _named(name, _as_dense(folded) if "/fc" in name else folded)
    ours |= _named("rpn/objectness", _difference(_take(rest, "rpn_class_raw")))
    ours |= _named("rpn/deltas", _reordered(_take(rest, "rpn_bbox_pred")))
    ours |= _named(
        "roi_heads/box/class_logits", _background_last(_take(rest, "mrcnn_class_logits"))
    )
    boxes = _without_first(_take(rest, "mrcnn_bbox_fc"), 4)
    ours |= _named("roi_heads/box/box_deltas", _reordered(boxes))
    ours |= _named("roi_heads/mask/logits", _without_first(_take(rest, "mrcnn_mask"), 1))
    return ours | rest


def _backbone_name(layer: str) -> str | None:
    """Ours, of a convolution of the backbone: "res4b_branch2a" -> "backbone/res4_1/conv1"."""
    if layer == "conv1":
        return "backbone/stem"
    if match := _BLOCK.fullmatch(layer):
        stage, block, branch = match.groups()
        conv = "shortcut" if branch == "1" else f"conv{'abc'.index(branch[1]) + 1}"
        return f"backbone/res{stage}_{ord(block) - ord('a')}/{conv}"
    return None


def _norm_of(layer: str) -> str:
    return "bn_conv1" if layer == "conv1" else layer.replace("res", "bn")


def _take(tensors: dict[str, np.ndarray], layer: str) -> dict[str, np.ndarray]:
    """Removes a layer's weights from `tensors`: {"kernel": ..., "bias": ...}."""
    keys = [key for key in tensors if key.rpartition("/")[0] == layer]
    return {key.rpartition("/")[2]: tensors.pop(key) for key in keys}


def _named(name: str, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{name}/{word}": array.astype(np.float32) for word, array in weights.items()}


def _with_moved_mean(
    name: str, conv: Mapping[str, np.ndarray], norm: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """A convolution without bias and its norm: (x + bias - mean) is (x - (mean - bias))."""
    vectors = dict(norm)
    if "bias" in conv and "moving_mean" in vectors:
        vectors["moving_mean"] = vectors["moving_mean"] - conv["bias"]
    kernel = {word: conv[word] for word in ("kernel",) if word in conv}
    return _named(name, kernel) | _named(f"{name}/norm", vectors)


def _fold(layer: Mapping[str, np.ndarray], norm: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A layer that computes what it and its norm compute."""
    if "kernel" not in layer or any(word not in norm for word in _VECTORS):
        return {}
    gamma, beta, mean, variance = (norm[word].astype(np.float64) for word in _VECTORS)
    scale = gamma / np.sqrt(variance + NORM_EPSILON)
    bias = layer.get("bias", np.zeros_like(mean))
    return {"kernel": layer["kernel"] * scale, "bias": (bias - mean) * scale + beta}


def _as_dense(layer: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Kernel (P, P, in, out) of a convolution over the whole map -> (P * P * in, out)."""
    return {
        word: array.reshape(-1, array.shape[-1]) if word == "kernel" else array
        for word, array in layer.items()
    }


def _difference(layer: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Last axis (background, object) of each anchor -> object - background."""
    return {word: array[..., 1::2] - array[..., 0::2] for word, array in layer.items()}


def _reordered(layer: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Last axis in groups of (y, x, height, width) -> (x, y, width, height)."""
    return {
        word: array.reshape(*array.shape[:-1], -1, 4)[..., _XYWH].reshape(array.shape)
        for word, array in layer.items()
    }


def _background_last(layer: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {word: np.roll(array, -1, axis=-1) for word, array in layer.items()}


def _without_first(layer: Mapping[str, np.ndarray], number: int) -> dict[str, np.ndarray]:
    return {word: array[..., number:] for word, array in layer.items()}


MATTERPORT = Source(
    name="matterport",
    rules=(Rule("{name}", "{name}"),),
    signature=("mrcnn_class_logits/kernel", "rpn_conv_shared/kernel"),
    prepare=to_our_names,
    input_axis=2,
)
