"""Configuration to model: the only file that knows variants."""

from __future__ import annotations

import functools
from collections.abc import Callable

import keras

from kmrcnn.backbones.resnet import ResNet
from kmrcnn.config.schema import BackboneConfig, ModelConfig
from kmrcnn.custom_ops import roi_align
from kmrcnn.heads.box import BoxBranch
from kmrcnn.heads.keypoint import KeypointBranch
from kmrcnn.heads.mask import MaskBranch
from kmrcnn.heads.mask_classes import CompetingClasses, IndependentClasses
from kmrcnn.heads.mask_head import FCNMaskHead, MLPMaskHead
from kmrcnn.layers.non_local import NonLocalBlock
from kmrcnn.layers.placement import CentrePlacement, CornerPlacement
from kmrcnn.layers.roi_align_max import roi_align_max
from kmrcnn.layers.roi_crop import roi_crop
from kmrcnn.layers.roi_pool import roi_pool
from kmrcnn.layers.roi_warp import roi_warp
from kmrcnn.models.generalized_rcnn import GeneralizedRCNN
from kmrcnn.necks.fpn import FPN
from kmrcnn.necks.single_level import SingleLevel
from kmrcnn.roi.pooler import RoIPooler
from kmrcnn.roi.res5_pooler import Res5Pooler
from kmrcnn.roi.roi_heads import RoIHeads
from kmrcnn.rpn.rpn import RegionProposalNetwork
from kmrcnn.structures.lowering import NATIVE, Lowering

NECKS = {"fpn": FPN, "single_level": SingleLevel}
OPERATORS = {
    "roi_align": roi_align,
    "roi_align_max": roi_align_max,
    "roi_crop": roi_crop,
    "roi_pool": roi_pool,
    "roi_warp": roi_warp,
    "roi_warp_max": functools.partial(roi_warp, reduce="max"),
}
MASK_HEADS = {"fcn": FCNMaskHead, "mlp": MLPMaskHead}
MASK_CLASSES = {"sigmoid": IndependentClasses, "softmax": CompetingClasses}


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
    backbone = ResNet(config.backbone, _inserts(config.backbone), name="backbone")
    neck = NECKS[config.neck.name](config.neck, backbone.feature_info, name="neck")
    rpn = RegionProposalNetwork(
        config.rpn, config.anchors, neck.feature_info, seed, lowering, name="rpn"
    )
    pooler = _pooler_factory(config, neck, lowering)
    box = BoxBranch(
        config.box, pooler(config.box.pooled_size), config.num_classes, lowering, name="box"
    )
    branches = {}
    if config.mask is not None:
        branches["mask"] = _mask_branch(config, pooler(config.mask.pooled_size), lowering)
    if config.keypoint is not None:
        foreground_samples = config.box.samples_per_image * config.box.positive_fraction
        branches["keypoint"] = KeypointBranch(
            config.keypoint,
            pooler(config.keypoint.pooled_size),
            foreground_samples,
            lowering,
            name="keypoint",
        )
    roi_heads = RoIHeads(box, branches, seed=seed, name="roi_heads")
    placement = CornerPlacement()
    if config.input.placement == "centre":
        placement = CentrePlacement(config.anchors.box_ends)
    return GeneralizedRCNN(config, backbone, neck, rpn, roi_heads, placement, name=name)


def _inserts(config: BackboneConfig) -> dict[int, keras.layers.Layer]:
    """Layers that stand before the last block of a stage, by the stage's number."""
    stage = config.non_local_stage
    return {} if stage is None else {stage: NonLocalBlock(name=f"non_local{stage}")}


def _mask_branch(config: ModelConfig, pooler, lowering: Lowering) -> MaskBranch:
    mask = config.mask
    classes = MASK_CLASSES[mask.activation](config.num_classes, mask.class_agnostic)
    head = MASK_HEADS[mask.head](mask, classes.num_channels, name="head")
    return MaskBranch(mask, pooler, head, classes, lowering, name="mask")


def _pooler_factory(config: ModelConfig, neck, lowering: Lowering) -> Callable:
    """Side of the RoI features -> pooler; branches of the same side share one."""
    operator = OPERATORS[config.pooler.operator]
    if operator is roi_align:
        operator = functools.partial(roi_align, form=lowering.roi_align)

    @functools.cache
    def pooler(size: int) -> keras.layers.Layer:
        pooler = RoIPooler(
            config.pooler, size, neck.feature_info, neck.roi_levels, operator, name="pooler"
        )
        if config.pooler.stage == "res5":
            return Res5Pooler(pooler, config.backbone, name="pooler")
        return pooler

    return pooler
