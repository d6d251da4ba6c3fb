"""Configuration to model: the only file that knows variants."""

from __future__ import annotations

from kmrcnn.backbones.resnet import ResNet
from kmrcnn.config.schema import ModelConfig
from kmrcnn.heads.box import BoxBranch
from kmrcnn.heads.mask import MaskBranch
from kmrcnn.models.generalized_rcnn import GeneralizedRCNN
from kmrcnn.necks.fpn import FPN
from kmrcnn.roi.pooler import RoIPooler
from kmrcnn.roi.roi_heads import RoIHeads
from kmrcnn.rpn.rpn import RegionProposalNetwork

NECKS = {"fpn": FPN}


def build_model(
    config: ModelConfig, name: str = "generalized_rcnn", seed: int | None = None
) -> GeneralizedRCNN:
    """Make the parts a configuration names and hand them to the spine.

    Args:
        config: See `kmrcnn.config.schema`.
        name: Name of the Keras model.
        seed: Seeds the sampling of anchors and RoIs in training. Weights start from Keras's global
            seed.

    Returns:
        A built model with random weights.
    """
    if config.neck.name not in NECKS:
        raise ValueError(
            f"`neck.name` must be one of {list(NECKS)}. Received: {config.neck.name!r}"
        )
    backbone = ResNet(config.backbone, name="backbone")
    neck = NECKS[config.neck.name](config.neck, backbone.feature_info, name="neck")
    levels = neck.feature_info
    rpn = RegionProposalNetwork(config.rpn, config.anchors, levels, seed=seed, name="rpn")
    pooled_levels = tuple(levels)[:-1]  # P6 only feeds the RPN
    box_pooler = RoIPooler(
        config.pooler, config.box.pooled_size, levels, pooled_levels, name="pooler"
    )
    box = BoxBranch(config.box, box_pooler, config.num_classes, name="box")
    branches = {}
    if config.mask is not None:
        mask_pooler = RoIPooler(
            config.pooler, config.mask.pooled_size, levels, pooled_levels, name="pooler"
        )
        branches["mask"] = MaskBranch(config.mask, mask_pooler, config.num_classes, name="mask")
    roi_heads = RoIHeads(box, branches, seed=seed, name="roi_heads")
    return GeneralizedRCNN(config, backbone, neck, rpn, roi_heads, name=name)
