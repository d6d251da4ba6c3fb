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
from kmrcnn.structures.lowering import NATIVE, Lowering

NECKS = {"fpn": FPN}


def build_model(
    config: ModelConfig,
    name: str = "generalized_rcnn",
    seed: int | None = None,
    lowering: Lowering = NATIVE,
) -> GeneralizedRCNN:
    """Make the parts a configuration names and hand them to the spine.

    Args:
        config: See `kmrcnn.config.schema`.
        name: Name of the Keras model.
        seed: Seeds the sampling of anchors and RoIs in training. Weights start from Keras's global
            seed.
        lowering: Forms of RoIAlign and NMS; exports choose others than the fastest.

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
    rpn = RegionProposalNetwork(config.rpn, config.anchors, levels, seed, lowering, name="rpn")
    pooled_levels = tuple(levels)[:-1]  # P6 only feeds the RPN

    def pooler(size: int) -> RoIPooler:
        return RoIPooler(config.pooler, size, levels, pooled_levels, lowering, name="pooler")

    box = BoxBranch(
        config.box, pooler(config.box.pooled_size), config.num_classes, lowering, name="box"
    )
    branches = {}
    if config.mask is not None:
        branches["mask"] = MaskBranch(
            config.mask, pooler(config.mask.pooled_size), config.num_classes, lowering, name="mask"
        )
    roi_heads = RoIHeads(box, branches, seed=seed, name="roi_heads")
    return GeneralizedRCNN(config, backbone, neck, rpn, roi_heads, name=name)
