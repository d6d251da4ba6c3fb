"""Reads reference cases: settings, weights, inputs and outputs of torchvision and Detectron2
models.

Every setting comes from the case's own .json (and the shapes of its weights), so that other cases
of the same form can be dropped into the folder.
"""

from __future__ import annotations

import dataclasses
import json
import re
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import yaml

from kmrcnn.config.loader import load_preset
from kmrcnn.config.schema import (
    AnchorConfig,
    BackboneConfig,
    BoxConfig,
    InputConfig,
    KeypointConfig,
    MaskConfig,
    ModelConfig,
    NeckConfig,
    PoolerConfig,
    RPNConfig,
)

NORMS = {
    "FrozenBN": "frozen_batch_norm",
    "BN": "batch_norm",
    "SyncBN": "sync_batch_norm",
    "GN": "group_norm",
    "": "none",
}


def named_weights(shapes: dict, gains: dict, transposed: list) -> dict[str, np.ndarray]:
    """Weights that follow from each parameter's name and shape (the rule is in the case's
    .json)."""
    return {
        name: _weight_by_rule(name, tuple(shape), gains, transposed)
        for name, shape in shapes.items()
    }


def _weight_by_rule(name, shape, gains, transposed):
    draw = np.random.RandomState(zlib.crc32(name.encode()))
    if "num_batches_tracked" in name:
        return np.zeros(shape, "int64")
    if "running_var" in name:
        return np.asarray(0.5 + draw.rand(*shape), "float32")
    if "running_mean" in name:
        return np.asarray(0.1 * draw.standard_normal(shape), "float32")
    if len(shape) == 1 and name.endswith("weight"):
        last = 0.3 if "bn3" in name or "conv3.norm" in name else 1.0
        return np.asarray((0.8 + 0.4 * draw.rand(*shape)) * last, "float32")
    if len(shape) <= 1:
        return np.asarray(0.02 * draw.standard_normal(shape), "float32")
    fan_in = shape[0] if name in transposed else int(np.prod(shape[1:]))
    gain = [value for key, value in gains.items() if key in name]
    scale = np.sqrt(2.0 / fan_in) * (gain[-1] if gain else 1.0)
    return np.asarray(draw.standard_normal(shape) * scale, "float32")


@dataclass
class Case:
    """One reference model."""

    folder: Path
    name: str

    @cached_property
    def info(self) -> dict:
        return json.loads((self.folder / f"{self.name}.json").read_text())

    @cached_property
    def arrays(self):
        return np.load(self.folder / f"{self.name}.npz")

    @property
    def source(self) -> str:
        """Name of the weight converter."""
        return "detectron2" if "config" in self.info else "torchvision"

    @cached_property
    def tensors(self) -> dict[str, np.ndarray]:
        if "rule" in self.info:
            shapes = {name: shape for name, (_, shape) in self.info["state_dict"].items()}
            return named_weights(shapes, self.info["gains"], self.info["transposed"])
        return {name[3:]: self.arrays[name] for name in self.arrays.files if name.startswith("sd/")}

    @cached_property
    def config(self) -> ModelConfig:
        return (_detectron2_config if self.source == "detectron2" else _torchvision_config)(self)

    @cached_property
    def images(self) -> list[np.ndarray]:
        """uint8 RGB."""
        names = sorted(name for name in self.arrays.files if name.startswith("in/image"))
        return [self.arrays[name] for name in names]

    @property
    def is_subsampled(self) -> bool:
        return "rule" in self.info

    def has(self, name: str) -> bool:
        return name in self.arrays.files

    def stage(self, prefix: str) -> dict[str, np.ndarray]:
        """Arrays below a prefix: {"p2": ..., ...}; names end before "/sub"."""
        found = {}
        for name in self.arrays.files:
            if name.startswith(prefix) and "absmean" not in name:
                found[name[len(prefix) :].removesuffix("/sub")] = self.arrays[name]
        return found

    def output(self, image: int, field: str) -> np.ndarray:
        prefixed = self.source == "detectron2" and field != "scores"
        return self.arrays[f"out/{image}/{'pred_' if prefixed else ''}{field}"]


def _preset(name: str, score_threshold: float, **overrides) -> ModelConfig:
    config = load_preset(name).model
    box = dataclasses.replace(config.box, score_threshold=score_threshold)
    return dataclasses.replace(config, box=box, **overrides)


def _torchvision_config(case: Case) -> ModelConfig:
    name = re.fullmatch(r"torchvision\.models\.detection\.(\w+)", case.info["model"])
    if name:
        settings = case.info["settings"]
        preset = load_preset(name.group(1)).model
        return _preset(
            name.group(1),
            settings["box_score_thresh"],
            input=dataclasses.replace(
                preset.input, short_side=settings["min_size"], long_side=settings["max_size"]
            ),
            # torchvision sets the epsilon to 0 only when it loads its own COCO_V1 files
            backbone=dataclasses.replace(preset.backbone, norm_epsilon=1e-5),
        )
    shapes = {name: value.shape for name, value in case.tensors.items()}
    settings = case.info["settings"]
    setting = settings.get
    body = "backbone.body."
    blocks = tuple(
        len({n.split(".")[3] for n in shapes if n.startswith(f"{body}layer{s}.")})
        for s in (1, 2, 3, 4)
    )
    trained_norm = f"{body}bn1.num_batches_tracked" in shapes
    anchors = re.search(r"anchors (\d+)\.\.(\d+)", case.info["model"])
    first_size = int(anchors.group(1)) if anchors else 32
    box_convs = sum(bool(re.fullmatch(r"roi_heads\.box_head\.\d+\.0\.weight", n)) for n in shapes)
    mask_convs = [n for n in shapes if re.fullmatch(r"roi_heads\.mask_head\.\d+\.0\.weight", n)]
    fcs = [n for n in shapes if re.fullmatch(r"roi_heads\.box_head\.(fc\d|\d)\.weight", n)]
    norm = lambda name: "batch_norm" if name in shapes else "none"  # noqa: E731
    mask = None
    if mask_convs:
        mask = MaskConfig(
            num_convs=len(mask_convs),
            channels=shapes[mask_convs[0]][0],
            norm=norm("roi_heads.mask_head.0.1.weight"),
            target="soft",
            paste="integer_box",
        )
    keypoint = None
    keypoint_convs = [
        n for n in shapes if re.fullmatch(r"roi_heads\.keypoint_head\.\d+\.weight", n)
    ]
    if keypoint_convs:
        keypoint = KeypointConfig(
            num_keypoints=shapes["roi_heads.keypoint_predictor.kps_score_lowres.weight"][1],
            num_convs=len(keypoint_convs),
            channels=shapes[keypoint_convs[0]][0],
            score="logit",
            annotation_offset=0.0,
        )
    return ModelConfig(
        num_classes=shapes["roi_heads.box_predictor.cls_score.weight"][0] - 1,
        input=InputConfig(
            short_side=setting("min_size", 800),
            long_side=setting("max_size", 1333),
            **{
                k: tuple(255 * v for v in settings[f"image_{k}"])
                for k in ("mean", "std")
                if f"image_{k}" in settings
            },
        ),
        backbone=BackboneConfig(
            blocks=blocks,
            stem_channels=shapes[f"{body}conv1.weight"][0],
            res2_channels=shapes[f"{body}layer1.0.conv3.weight"][0],
            width_per_group=shapes[f"{body}layer1.0.conv2.weight"][0],
            norm="batch_norm" if trained_norm else "frozen_batch_norm",
            freeze_at=0 if case.has(f"train/grad/{body}conv1.weight") else 2,
        ),
        neck=NeckConfig(
            channels=shapes["backbone.fpn.inner_blocks.0.0.weight"][0],
            norm=norm("backbone.fpn.inner_blocks.0.1.weight"),
        ),
        anchors=AnchorConfig(
            sizes=tuple((float(first_size * 2**i),) for i in range(5)),
            rounded=True,
            strides="derived",
            order="ratio_major",
        ),
        rpn=RPNConfig(
            num_convs=sum(
                bool(re.fullmatch(r"rpn\.head\.conv\.\d+\.0\.weight", n)) for n in shapes
            ),
            pre_nms_top_n=setting("rpn_pre_nms_top_n_test", 1000),
            post_nms_top_n=setting("rpn_post_nms_top_n_test", 1000),
            pre_nms_top_n_train=setting("rpn_pre_nms_top_n_train", 2000),
            post_nms_top_n_train=setting("rpn_post_nms_top_n_train", 2000),
            nms_threshold=setting("rpn_nms_thresh", 0.7),
            min_size=1e-3,
            rank_by="sigmoid",
            samples_per_image=setting("rpn_batch_size_per_image", 256),
            positive_fraction=setting("rpn_positive_fraction", 0.5),
            smooth_l1_beta=1 / 9,
            loss_divisor="sampled",
        ),
        pooler=PoolerConfig(
            aligned=False, sampling_ratio=2, level_epsilon=1e-6, level_epsilon_on="logarithm"
        ),
        box=BoxConfig(
            num_convs=box_convs,
            conv_channels=shapes["roi_heads.box_head.0.0.weight"][0] if box_convs else 256,
            num_fcs=len(fcs),
            fc_channels=shapes[fcs[0]][0],
            norm=norm("roi_heads.box_head.0.1.weight"),
            samples_per_image=setting("box_batch_size_per_image", 512),
            positive_fraction=setting("box_positive_fraction", 0.25),
            smooth_l1_beta=1 / 9,
            score_threshold=setting("box_score_thresh", 0.05),
            nms_threshold=setting("box_nms_thresh", 0.5),
            max_detections=setting("box_detections_per_img", 100),
            min_size=1e-2,
        ),
        mask=mask,
        keypoint=keypoint,
    )


def _detectron2_config(case: Case) -> ModelConfig:
    if "full_config" not in case.info:
        return _preset(Path(case.info["config"]).stem, case.info["settings"]["SCORE_THRESH_TEST"])
    full = yaml.safe_load(case.info["full_config"])
    model, inputs = full["MODEL"], full["INPUT"]
    resnet, rpn, heads = model["RESNETS"], model["RPN"], model["ROI_HEADS"]
    c4 = heads["NAME"] == "Res5ROIHeads"
    box, mask, anchors = model["ROI_BOX_HEAD"], model["ROI_MASK_HEAD"], model["ANCHOR_GENERATOR"]
    keypoint = model["ROI_KEYPOINT_HEAD"]
    return ModelConfig(
        num_classes=heads["NUM_CLASSES"],
        input=InputConfig(
            channel_order=inputs["FORMAT"].lower(),
            mean=tuple(model["PIXEL_MEAN"]),
            std=tuple(model["PIXEL_STD"]),
            short_side=inputs["MIN_SIZE_TEST"],
            long_side=inputs["MAX_SIZE_TEST"],
            resize="antialiased_uint8",
            size_rounding="half_up",
            pad_multiple=32 if "fpn" in model["BACKBONE"]["NAME"] else 1,
        ),
        backbone=BackboneConfig(
            name=f"resnet{resnet['DEPTH']}",
            stem_channels=resnet["STEM_OUT_CHANNELS"],
            res2_channels=resnet["RES2_OUT_CHANNELS"],
            groups=resnet["NUM_GROUPS"],
            width_per_group=resnet["WIDTH_PER_GROUP"],
            stride_in_1x1=resnet["STRIDE_IN_1X1"],
            norm=NORMS[resnet["NORM"]],
            freeze_at=model["BACKBONE"]["FREEZE_AT"],
            last_stage=4 if c4 else 5,
            res5_dilation=resnet["RES5_DILATION"],
        ),
        neck=NeckConfig(
            name="fpn" if "fpn" in model["BACKBONE"]["NAME"] else "single_level",
            channels=model["FPN"]["OUT_CHANNELS"],
            norm=NORMS[model["FPN"]["NORM"]],
        ),
        anchors=AnchorConfig(
            sizes=tuple(tuple(map(float, sizes)) for sizes in anchors["SIZES"]),
            aspect_ratios=tuple(anchors["ASPECT_RATIOS"][0]),
            offset=anchors["OFFSET"],
        ),
        rpn=RPNConfig(
            num_convs=len(rpn["CONV_DIMS"]),
            pre_nms_top_n=rpn["PRE_NMS_TOPK_TEST"],
            post_nms_top_n=rpn["POST_NMS_TOPK_TEST"],
            pre_nms_top_n_train=rpn["PRE_NMS_TOPK_TRAIN"],
            post_nms_top_n_train=rpn["POST_NMS_TOPK_TRAIN"],
            nms_threshold=rpn["NMS_THRESH"],
            min_size=model["PROPOSAL_GENERATOR"]["MIN_SIZE"],
            samples_per_image=rpn["BATCH_SIZE_PER_IMAGE"],
            positive_fraction=rpn["POSITIVE_FRACTION"],
            smooth_l1_beta=rpn["SMOOTH_L1_BETA"],
        ),
        pooler=PoolerConfig(
            stage="res5" if c4 else "none",
            aligned=box["POOLER_TYPE"] == "ROIAlignV2",
            sampling_ratio=box["POOLER_SAMPLING_RATIO"],
        ),
        box=BoxConfig(
            pooled_size=box["POOLER_RESOLUTION"],
            reduce="mean" if c4 else "flatten",
            num_convs=box["NUM_CONV"],
            conv_channels=box["CONV_DIM"],
            num_fcs=0 if c4 else box["NUM_FC"],
            fc_channels=box["FC_DIM"],
            norm=NORMS[box["NORM"]],
            class_agnostic=box["CLS_AGNOSTIC_BBOX_REG"],
            box_coder_weights=tuple(box["BBOX_REG_WEIGHTS"]),
            samples_per_image=heads["BATCH_SIZE_PER_IMAGE"],
            positive_fraction=heads["POSITIVE_FRACTION"],
            smooth_l1_beta=box["SMOOTH_L1_BETA"],
            score_threshold=heads["SCORE_THRESH_TEST"],
            nms_threshold=heads["NMS_THRESH_TEST"],
            max_detections=full["TEST"]["DETECTIONS_PER_IMAGE"],
        ),
        mask=MaskConfig(
            pooled_size=mask["POOLER_RESOLUTION"],
            num_convs=mask["NUM_CONV"],
            channels=mask["CONV_DIM"],
            norm=NORMS[mask["NORM"]],
            class_agnostic=mask["CLS_AGNOSTIC_MASK"],
        )
        if model["MASK_ON"]
        else None,
        keypoint=KeypointConfig(
            num_keypoints=keypoint["NUM_KEYPOINTS"],
            pooled_size=keypoint["POOLER_RESOLUTION"],
            num_convs=len(keypoint["CONV_DIMS"]),
            channels=keypoint["CONV_DIMS"][0],
            loss_divisor="visible"
            if keypoint["NORMALIZE_LOSS_BY_VISIBLE_KEYPOINTS"]
            else "configured",
        )
        if model["KEYPOINT_ON"]
        else None,
    )
