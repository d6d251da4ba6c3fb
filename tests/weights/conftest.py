"""Shapes that a model's weights must have, written down from the papers and not from the model."""

import numpy as np
import pytest

_BLOCKS = {
    "resnet18": (2, 2, 2, 2),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
}


def _norm(name, norm, channels):
    words = {
        "none": (),
        "group_norm": ("gamma", "beta"),
    }.get(norm, ("gamma", "beta", "moving_mean", "moving_variance"))
    return {f"{name}/norm/{word}": (channels,) for word in words}


def _conv(name, kernel, channels_in, channels_out, norm="none"):
    shapes = {f"{name}/kernel": (kernel, kernel, channels_in, channels_out)}
    if norm == "none":
        return shapes | {f"{name}/bias": (channels_out,)}
    return shapes | _norm(name, norm, channels_out)


def _backbone(config, channels):
    b = config.backbone
    shapes = _conv("backbone/stem", 7, channels, b.stem_channels, b.norm)
    bottleneck = b.name not in ("resnet18", "resnet34")
    out, before = b.res2_channels or (256 if bottleneck else 64), b.stem_channels
    inner = b.groups * b.width_per_group
    outs = []
    for stage, blocks in enumerate(b.blocks or _BLOCKS[b.name], start=2):
        for block in range(blocks):
            name = f"backbone/res{stage}_{block}"
            if before != out or (block == 0 and stage > 2):
                shapes |= _conv(f"{name}/shortcut", 1, before, out, b.norm)
            if bottleneck:
                shapes |= _conv(f"{name}/conv1", 1, before, inner, b.norm)
                shapes |= _conv(f"{name}/conv2", 3, inner // b.groups, inner, b.norm)
                shapes |= _conv(f"{name}/conv3", 1, inner, out, b.norm)
            else:
                shapes |= _conv(f"{name}/conv1", 3, before, out, b.norm)
                shapes |= _conv(f"{name}/conv2", 3, out, out, b.norm)
            before = out
        outs.append(out)
        out, inner = 2 * out, 2 * inner
    return shapes, outs


def expected_shapes(config):
    """Our names and shapes of all weights of a Faster, Mask or Keypoint R-CNN: FPN, C4 or DC5."""
    shapes, outs = _backbone(config, config.input.channels)
    wide, k = config.neck.channels, config.num_classes
    if config.neck.name == "single_level":
        wide, outs = outs[config.backbone.last_stage - 2], []
    for level, channels in enumerate(outs, start=2):
        shapes |= _conv(f"neck/lateral{level}", 1, channels, wide, config.neck.norm)
        shapes |= _conv(f"neck/output{level}", 3, wide, wide, config.neck.norm)
    anchors = len(config.anchors.sizes[0]) * len(config.anchors.aspect_ratios)
    before = wide
    for i in range(1, config.rpn.num_convs + 1):
        shapes |= _conv(f"rpn/conv{i}", 3, before, config.rpn.channels or wide)
        before = config.rpn.channels or wide
    shapes |= _conv("rpn/objectness", 1, before, anchors)
    shapes |= _conv("rpn/deltas", 1, before, 4 * anchors)
    wide *= 2 if config.pooler.stage == "res5" else 1  # of what the heads see
    box, before = config.box, wide
    for i in range(1, box.num_convs + 1):
        shapes |= _conv(f"roi_heads/box/conv{i}", 3, before, box.conv_channels, box.norm)
        before = box.conv_channels
    before *= box.pooled_size**2 if box.reduce == "flatten" else 1
    dense = {f"fc{i}": box.fc_channels for i in range(1, box.num_fcs + 1)}
    dense |= {"class_logits": k + 1, "box_deltas": 4 if box.class_agnostic else 4 * k}
    for name, out in dense.items():
        shapes[f"roi_heads/box/{name}/kernel"] = (before, out)
        shapes[f"roi_heads/box/{name}/bias"] = (out,)
        before = out if name.startswith("fc") else before
    if mask := config.mask:
        before = wide
        for i in range(1, mask.num_convs + 1):
            shapes |= _conv(f"roi_heads/mask/conv{i}", 3, before, mask.channels, mask.norm)
            before = mask.channels
        shapes |= _conv("roi_heads/mask/deconv", 2, before, mask.channels)
        shapes["roi_heads/mask/deconv/kernel"] = (2, 2, mask.channels, before)
        shapes |= _conv("roi_heads/mask/logits", 1, mask.channels, 1 if mask.class_agnostic else k)
    if keypoint := config.keypoint:
        before = wide
        for i in range(1, keypoint.num_convs + 1):
            shapes |= _conv(f"roi_heads/keypoint/conv{i}", 3, before, keypoint.channels)
            before = keypoint.channels
        shapes |= _conv("roi_heads/keypoint/deconv", 4, before, keypoint.num_keypoints)
        shapes["roi_heads/keypoint/deconv/kernel"] = (4, 4, keypoint.num_keypoints, before)
    return shapes


def to_torch(name, array, config, background_first):
    """The inverse of the conversion: our array as PyTorch keeps it."""
    if array.ndim == 4:
        array = array.transpose(3, 2, 0, 1)
    elif name == "roi_heads/box/fc1/kernel":
        side = config.box.pooled_size
        array = array.reshape(side, side, -1, array.shape[1]).transpose(3, 2, 0, 1)
        array = array.reshape(array.shape[0], -1)
    elif array.ndim == 2:
        array = array.T
    if background_first and "class_logits" in name:
        array = np.concatenate([array[-1:], array[:-1]])
    extra = {"box_deltas": 4, "mask/logits": 1}
    for layer, rows in extra.items():
        if background_first and layer in name:
            array = np.concatenate([np.full((rows, *array.shape[1:]), 99, array.dtype), array])
    return np.ascontiguousarray(array)


@pytest.fixture(name="expected_shapes", scope="session")
def _expected_shapes():
    return expected_shapes


@pytest.fixture(name="to_torch", scope="session")
def _to_torch():
    return to_torch
