"""Names of Detectron2's Faster, Mask and Keypoint R-CNN: ResNet or ResNeXt, with and without FPN.

Layouts are PyTorch's, the classes' order is ours: background last, and only in the class logits.
The statistics of a frozen batch norm may be absent, as in files that came from Caffe2, which keeps
only scale and shift; they are then those of the identity, as Detectron2 reads them too.
"""

from __future__ import annotations

from kmrcnn.weights.layouts import conv, dense, dense_after_flatten, dense_predictor
from kmrcnn.weights.name_map import Rule, Source

_BLOCK = "backbone/res{stage}_{block}"
_RPN = "proposal_generator.rpn_head"
_BOX = "roi_heads.box_head"
_MASK = "roi_heads.mask_head"
_KEYPOINT = "roi_heads.keypoint_head"
_BODIES = ("backbone.bottom_up", "backbone")  # in a pyramid, alone
_IDENTITY = {"moving_mean": 0.0, "moving_variance": 1.0}


def _stem(name: str) -> tuple[str, ...]:
    return tuple(f"{body}.stem.conv1.{name}" for body in _BODIES)


def _layer(name: str) -> tuple[str, ...]:
    """Of a residual block; in the C4 form the blocks of res5 belong to the RoI heads."""
    return tuple(f"{body}.res{{stage}}.{{block}}.{name}" for body in (*_BODIES, "roi_heads"))


_RULES = (
    Rule("backbone/stem/kernel", _stem("weight"), conv),
    Rule("backbone/stem/norm/{norm}", _stem("norm.{norm}"), absent=_IDENTITY),
    Rule(_BLOCK + "/conv{k}/kernel", _layer("conv{k}.weight"), conv),
    Rule(_BLOCK + "/conv{k}/norm/{norm}", _layer("conv{k}.norm.{norm}"), absent=_IDENTITY),
    Rule(_BLOCK + "/shortcut/kernel", _layer("shortcut.weight"), conv),
    Rule(_BLOCK + "/shortcut/norm/{norm}", _layer("shortcut.norm.{norm}"), absent=_IDENTITY),
    Rule("neck/lateral{level}/{param}", "backbone.fpn_lateral{level}.{param}", conv),
    Rule("neck/lateral{level}/norm/{norm}", "backbone.fpn_lateral{level}.norm.{norm}"),
    Rule("neck/output{level}/{param}", "backbone.fpn_output{level}.{param}", conv),
    Rule("neck/output{level}/norm/{norm}", "backbone.fpn_output{level}.norm.{norm}"),
    Rule("rpn/conv1/{param}", (_RPN + ".conv.{param}", _RPN + ".conv.conv0.{param}"), conv),
    Rule("rpn/conv{i}/{param}", _RPN + ".conv.conv{i-1}.{param}", conv),
    Rule("rpn/objectness/{param}", _RPN + ".objectness_logits.{param}", conv),
    Rule("rpn/deltas/{param}", _RPN + ".anchor_deltas.{param}", conv),
    Rule("roi_heads/box/conv{i}/{param}", _BOX + ".conv{i}.{param}", conv),
    Rule("roi_heads/box/conv{i}/norm/{norm}", _BOX + ".conv{i}.norm.{norm}"),
    Rule("roi_heads/box/fc1/{param}", _BOX + ".fc1.{param}", dense_after_flatten),
    Rule("roi_heads/box/fc{i}/{param}", _BOX + ".fc{i}.{param}", dense),
    Rule(
        "roi_heads/box/class_logits/{param}",
        "roi_heads.box_predictor.cls_score.{param}",
        dense_predictor,
    ),
    Rule(
        "roi_heads/box/box_deltas/{param}",
        "roi_heads.box_predictor.bbox_pred.{param}",
        dense_predictor,
    ),
    Rule("roi_heads/mask/conv{i}/{param}", _MASK + ".mask_fcn{i}.{param}", conv),
    Rule("roi_heads/mask/conv{i}/norm/{norm}", _MASK + ".mask_fcn{i}.norm.{norm}"),
    Rule("roi_heads/mask/deconv/{param}", _MASK + ".deconv.{param}", conv),
    Rule("roi_heads/mask/logits/{param}", _MASK + ".predictor.{param}", conv),
    Rule("roi_heads/keypoint/conv{i}/{param}", _KEYPOINT + ".conv_fcn{i}.{param}", conv),
    Rule("roi_heads/keypoint/deconv/{param}", _KEYPOINT + ".score_lowres.{param}", conv),
)

DETECTRON2 = Source(
    name="detectron2",
    rules=_RULES,
    signature=_stem("weight"),
    ignored=(
        r"proposal_generator\.anchor_generator\.cell_anchors\.\d+",
        r"pixel_mean|pixel_std",
        r".*\.num_batches_tracked",
    ),
)
