"""How large a model is and how much it computes: parameters and multiply-adds, layer by layer.

Counted are convolutions, transposed convolutions and fully connected layers: one multiply-add for
each use of each weight. RoIAlign's interpolation, normalisation, activations, additions, box
decoding and NMS are not counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import keras

from kmrcnn.layers.deconv import Deconv2x2
from kmrcnn.layers.deconv_upsample import Deconv4x4
from kmrcnn.layers.frozen_batch_norm import FrozenBatchNorm
from kmrcnn.roi.res5_pooler import Res5Pooler
from kmrcnn.weights.canonical import canonical_name

if TYPE_CHECKING:
    from kmrcnn.models.generalized_rcnn import GeneralizedRCNN

PARTS = ("normalize", "backbone", "neck", "rpn", "box", "mask", "keypoint")

Size = tuple[int, int]  # height, width


class LayerCount(NamedTuple):
    """One layer with weights, its normalisation included."""

    part: str  # one of PARTS
    name: str  # "backbone/res2_0/conv1"
    kernel: tuple[int, ...]  # shape of its kernel, in Keras's layout
    positions: int  # where the kernel is applied: output pixels of all levels and all RoIs
    parameters: int
    multiply_adds: int


def count_parameters(model: GeneralizedRCNN) -> dict[str, int]:
    """Parameters of each part as PyTorch counts them, trainable or not.

    What PyTorch calls buffers does not count: the vectors of a frozen batch norm and the moving
    statistics of a batch norm.

    Args:
        model: From `build_model`.

    Returns:
        Part -> parameters, for the parts in `PARTS` that the model has.

    Example:
        >>> sum(count_parameters(load_model("mask_rcnn_R_50_FPN_3x")).values())
        44343216
    """
    layers = list_layers(model, (32, 32), num_proposals=1, num_detections=1)
    return _sum_by_part(model, [(layer.part, layer.parameters) for layer in layers])


def count_multiply_adds(
    model: GeneralizedRCNN, image_size: Size, num_proposals: int, num_detections: int
) -> dict[str, int]:
    """Multiply-adds of each part for one image in inference; see `list_layers`."""
    layers = list_layers(model, image_size, num_proposals, num_detections)
    return _sum_by_part(model, [(layer.part, layer.multiply_adds) for layer in layers])


def count_unused_background(model: GeneralizedRCNN) -> int:
    """Parameters that torchvision's files have beyond ours.

    Its class rows start with the background, also where the background is never asked for: four
    box deltas and one mask channel, which are dropped when its weights are read.
    """
    heads = model.roi_heads
    unused = 4 * (heads.box.box_deltas.kernel.shape[0] + 1)
    if "mask" in heads.branches:
        unused += heads.branches["mask"].head.logits.kernel.shape[2] + 1
    return unused


def list_layers(
    model: GeneralizedRCNN, image_size: Size, num_proposals: int, num_detections: int
) -> list[LayerCount]:
    """Every layer that has weights, in the order of computation, with its counts.

    Args:
        model: From `build_model`.
        image_size: (height, width) of the padded network input, pixels.
        num_proposals: RoIs that the box branch sees.
        num_detections: RoIs that mask and keypoint branch see. The mask's last layer is computed,
            and counted, for the class of each detection only.

    Returns:
        The layers of backbone, neck, RPN, box branch, mask and keypoint branch.

    Raises:
        ValueError: A size or number is not positive.
    """
    numbers = (*image_size, num_proposals, num_detections)
    if min(numbers) < 1:
        raise ValueError(
            "`image_size`, `num_proposals` and `num_detections` must be positive. "
            f"Received: {image_size}, {num_proposals}, {num_detections}"
        )
    sizes = _level_sizes(model.backbone, image_size)
    layers = [*_backbone(model.backbone, image_size), *_neck(model.neck, sizes)]
    sizes.append(_half(sizes[-1]))
    layers += _rpn(model.rpn, [sizes[int(level[1:]) - 2] for level in model.neck.feature_info])
    layers += _res5_on_rois(model.roi_heads, num_proposals, num_detections)
    layers += _box(model.roi_heads.box, num_proposals)
    if "mask" in model.roi_heads.branches:
        layers += _mask(model.roi_heads.branches["mask"], num_detections)
    if "keypoint" in model.roi_heads.branches:
        layers += _keypoint(model.roi_heads.branches["keypoint"], num_detections)
    return layers


def count_layer(layer: keras.layers.Layer, part: str, positions: int) -> LayerCount:
    """Counts of a `ConvNormAct`, a `Dense`, a `Deconv2x2` or a `Deconv4x4`.

    Args:
        layer: Built.
        part: Where it belongs.
        positions: Pixels (or rows, for `Dense`) of its output.
    """
    kernel = tuple(layer.kernel.shape)
    uses = math.prod(kernel)  # per position: groups have the smaller kernel already
    if isinstance(layer, (Deconv2x2, Deconv4x4)):
        uses //= 4  # an output pixel comes from every fourth tap
    parameters = sum(math.prod(variable.shape) for variable in _parameters(layer))
    name = canonical_name(layer.kernel.path).rpartition("/")[0]
    return LayerCount(part, name, kernel, positions, parameters, positions * uses)


def _sum_by_part(model: GeneralizedRCNN, counts: list[tuple[str, int]]) -> dict[str, int]:
    absent = {"mask", "keypoint"} - set(model.roi_heads.branches)
    parts = [part for part in PARTS if part not in absent]
    return {part: sum(n for owner, n in counts if owner == part) for part in parts}


def _parameters(layer: keras.layers.Layer) -> Iterator[keras.Variable]:
    yield layer.kernel
    if getattr(layer, "bias", None) is not None:
        yield layer.bias
    norm = getattr(layer, "norm", None)
    if norm is not None and not isinstance(norm, FrozenBatchNorm):
        yield norm.gamma
        yield norm.beta


def _backbone(backbone, size: Size) -> Iterator[LayerCount]:
    size = _after(backbone.stem, size)
    yield count_layer(backbone.stem, "backbone", math.prod(size))
    size = _half(size)  # max pooling
    yield from _blocks([block for stage in backbone.stages for block in stage], size)


def _res5_on_rois(heads, proposals: int, detections: int) -> Iterator[LayerCount]:
    """The backbone's last stage where it works on RoIs (C4); branches share it."""
    users = [(heads.box, proposals), *((one, detections) for one in heads.branches.values())]
    for pooler in dict.fromkeys(branch.pooler for branch, _ in users):
        if isinstance(pooler, Res5Pooler):
            side = pooler.pooler.output_size
            rois = sum(number for branch, number in users if branch.pooler is pooler)
            yield from _blocks(pooler.blocks, (side, side), rois)


def _blocks(blocks, size: Size, times: int = 1) -> Iterator[LayerCount]:
    """Residual blocks, one after the other, on `times` maps of the same size."""
    for block in blocks:
        entry = size
        for conv in block.convs:
            size = _after(conv, size)
            yield count_layer(conv, "backbone", times * math.prod(size))
        if block.shortcut is not None:
            positions = math.prod(_after(block.shortcut, entry))
            yield count_layer(block.shortcut, "backbone", times * positions)


def _level_sizes(backbone, size: Size) -> list[Size]:
    """Sizes of C2, C3, ..."""
    size = _half(_after(backbone.stem, size))
    sizes = []
    for stage in backbone.stages:
        for conv in (conv for block in stage for conv in block.convs):
            size = _after(conv, size)
        sizes.append(size)
    return sizes


def _neck(neck, sizes: list[Size]) -> Iterator[LayerCount]:
    for lateral, output, size in zip(neck.laterals, neck.output_convs, sizes):
        yield count_layer(lateral, "neck", math.prod(size))
        yield count_layer(output, "neck", math.prod(size))


def _rpn(rpn, sizes: list[Size]) -> Iterator[LayerCount]:
    positions = sum(math.prod(size) for size in sizes)
    for conv in (*rpn.convs, rpn.objectness, rpn.deltas):
        yield count_layer(conv, "rpn", positions)


def _box(branch, rois: int) -> Iterator[LayerCount]:
    for conv in branch.convs:
        yield count_layer(conv, "box", rois * branch.pooler.output_size**2)
    for dense in (*branch.fcs, branch.class_logits, branch.box_deltas):
        yield count_layer(dense, "box", rois)


def _mask(branch, rois: int) -> Iterator[LayerCount]:
    head = branch.head
    for layer, positions in head.uses(branch.pooler.output_size):
        count = count_layer(layer, "mask", rois * positions)
        if layer is head.logits:
            used = branch.classes.channels_used(head)
            count = count._replace(multiply_adds=count.multiply_adds * used // head.num_channels)
        yield count


def _keypoint(branch, rois: int) -> Iterator[LayerCount]:
    pixels = rois * branch.pooler.output_size**2
    for conv in branch.convs:
        yield count_layer(conv, "keypoint", pixels)
    yield count_layer(branch.deconv, "keypoint", 4 * pixels)


def _after(conv, size: Size) -> Size:
    """Size of a convolution's output."""
    return conv.compute_output_shape((None, *size, None))[1:3]


def _half(size: Size) -> Size:
    """Size after max pooling 3x3 with stride 2, or after taking every second pixel."""
    return tuple(-(-side // 2) for side in size)
