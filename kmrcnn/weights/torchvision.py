"""Names of torchvision's Faster, Mask and Keypoint R-CNN (models.detection, ResNet-FPN).

Second names are those of files saved before torchvision 0.13. Class rows there start with the
background, which has a row (unused) in the box deltas and the mask logits too.
"""

from __future__ import annotations

from kmrcnn.config.schema import ModelConfig
from kmrcnn.weights.layouts import (
    background_last,
    conv,
    dense,
    dense_after_flatten,
    dense_predictor,
    without_background,
    without_background_box,
)
from kmrcnn.weights.name_map import Rule, Source

_BLOCK = "backbone/res{stage}_{block}"
_LAYER = "backbone.body.layer{stage-1}.{block}"
_BOX = "roi_heads.box_head"
_MASK = "roi_heads.mask_predictor"


def _numbers(fields: dict[str, int], config: ModelConfig) -> dict[str, int]:
    """Places in heads that are lists: of a dense layer in a box head of convs, flatten, then dense,
    ReLU; of a convolution in a keypoint head of convolution, ReLU.
    """
    i = fields.get("i", 1)
    return {"dense_index": config.box.num_convs + 2 * i - 1, "keypoint_index": 2 * (i - 1)}


_RULES = (
    Rule("backbone/stem/kernel", "backbone.body.conv1.weight", conv),
    Rule("backbone/stem/norm/{norm}", "backbone.body.bn1.{norm}"),
    Rule(_BLOCK + "/conv{k}/kernel", _LAYER + ".conv{k}.weight", conv),
    Rule(_BLOCK + "/conv{k}/norm/{norm}", _LAYER + ".bn{k}.{norm}"),
    Rule(_BLOCK + "/shortcut/kernel", _LAYER + ".downsample.0.weight", conv),
    Rule(_BLOCK + "/shortcut/norm/{norm}", _LAYER + ".downsample.1.{norm}"),
    *(
        rule
        for ours, theirs in (("lateral", "inner_blocks"), ("output", "layer_blocks"))
        for rule in (
            Rule(
                f"neck/{ours}{{level}}/{{param}}",
                (
                    f"backbone.fpn.{theirs}.{{level-2}}.0.{{param}}",
                    f"backbone.fpn.{theirs}.{{level-2}}.{{param}}",
                ),
                conv,
            ),
            Rule(
                f"neck/{ours}{{level}}/norm/{{norm}}",
                f"backbone.fpn.{theirs}.{{level-2}}.1.{{norm}}",
            ),
        )
    ),
    Rule("rpn/conv1/{param}", ("rpn.head.conv.0.0.{param}", "rpn.head.conv.{param}"), conv),
    Rule("rpn/conv{i}/{param}", "rpn.head.conv.{i-1}.0.{param}", conv),
    Rule("rpn/objectness/{param}", "rpn.head.cls_logits.{param}", conv),
    Rule("rpn/deltas/{param}", "rpn.head.bbox_pred.{param}", conv),
    Rule("roi_heads/box/conv{i}/{param}", _BOX + ".{i-1}.0.{param}", conv),
    Rule("roi_heads/box/conv{i}/norm/{norm}", _BOX + ".{i-1}.1.{norm}"),
    Rule(
        "roi_heads/box/fc1/{param}",
        (_BOX + ".fc6.{param}", _BOX + ".{dense_index}.{param}"),
        dense_after_flatten,
    ),
    Rule(
        "roi_heads/box/fc{i}/{param}",
        (_BOX + ".fc{i+5}.{param}", _BOX + ".{dense_index}.{param}"),
        dense,
    ),
    Rule(
        "roi_heads/box/class_logits/{param}",
        "roi_heads.box_predictor.cls_score.{param}",
        dense_predictor,
        background_last,
    ),
    Rule(
        "roi_heads/box/box_deltas/{param}",
        "roi_heads.box_predictor.bbox_pred.{param}",
        dense_predictor,
        without_background_box,
    ),
    Rule(
        "roi_heads/mask/conv{i}/{param}",
        ("roi_heads.mask_head.{i-1}.0.{param}", "roi_heads.mask_head.mask_fcn{i}.{param}"),
        conv,
    ),
    Rule("roi_heads/mask/conv{i}/norm/{norm}", "roi_heads.mask_head.{i-1}.1.{norm}"),
    Rule("roi_heads/mask/deconv/{param}", _MASK + ".conv5_mask.{param}", conv),
    Rule(
        "roi_heads/mask/logits/{param}",
        _MASK + ".mask_fcn_logits.{param}",
        conv,
        without_background,
    ),
    Rule(
        "roi_heads/keypoint/conv{i}/{param}",
        "roi_heads.keypoint_head.{keypoint_index}.{param}",
        conv,
    ),
    Rule(
        "roi_heads/keypoint/deconv/{param}",
        "roi_heads.keypoint_predictor.kps_score_lowres.{param}",
        conv,
    ),
)

TORCHVISION = Source(
    name="torchvision",
    rules=_RULES,
    signature=("backbone.body.conv1.weight",),
    ignored=(r".*\.num_batches_tracked",),
    numbers=_numbers,
)
