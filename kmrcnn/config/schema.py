"""Every setting of a model, its default and its meaning: frozen dataclasses, checked when they are
made.

A preset (``configs/**/*.yaml``) holds only what differs from these defaults. What torchvision,
Detectron2 and others do differently is a field here and a value in a preset; no code asks which
framework a number came from.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from kmrcnn.config.checks import require_choice, require_fraction, require_positive

Norm = Literal["frozen_batch_norm", "batch_norm", "sync_batch_norm", "group_norm", "none"]


@dataclass(frozen=True)
class InputConfig:
    """From a picture on disk to the network frame."""

    channels: int = 3  # channels of the input image
    # order in which the network sees three-channel images
    channel_order: Literal["rgb", "bgr"] = "rgb"
    # per channel, in `channel_order`, on the 0-255 scale
    mean: tuple[float, ...] = (123.675, 116.28, 103.53)
    std: tuple[float, ...] = (58.395, 57.12, 57.375)  # the same
    short_side: int = 800  # the shorter side is resized to this many pixels ...
    long_side: int = 1333  # ... unless the longer side would exceed this
    enlarge_only: bool = False  # a shorter side above `short_side` stays: it only grows to it
    min_scale: float = 0.0  # pictures are enlarged at least by this, within `long_side`
    # float, no antialias | Pillow's bilinear on uint8 |
    # uint8, no antialias, black beyond the border
    resize: Literal["bilinear", "antialiased_uint8", "black_border_uint8"] = "bilinear"
    # of the resized height and width
    size_rounding: Literal["floor", "half_up", "half_even"] = "floor"
    pad_multiple: int = 32  # zeros are added below and on the right up to a multiple of this
    # where the network sees the picture on that canvas: in the corner, the padding zero after
    # normalising | in the middle, the padding black
    placement: Literal["corner", "centre"] = "corner"

    def __post_init__(self):
        require_choice(self, "channel_order", "resize", "size_rounding", "placement")
        require_positive(self, "channels", "short_side", "long_side", "pad_multiple")
        for name in ("mean", "std"):
            if len(getattr(self, name)) != self.channels:
                raise ValueError(
                    f"`input.{name}` must have one value per channel ({self.channels}). "
                    f"Received: {getattr(self, name)!r}"
                )


@dataclass(frozen=True)
class BackboneConfig:
    """ResNet (He et al. 2015) and ResNeXt (Xie et al. 2016)."""

    name: str = "resnet50"  # resnet18 | resnet34 | resnet50 | resnet101 | resnet152
    blocks: tuple[int, ...] | None = None  # residual blocks of res2..res5; None: what `name` says
    stem_channels: int = 64
    # output channels of res2, doubled by each later stage; None: 256 (64 for 18, 34)
    res2_channels: int | None = None
    groups: int = 1  # of the 3x3 convolutions; 32 in ResNeXt-101 32x8d
    # 3x3 channels of res2 are groups * width_per_group; 8 in ResNeXt-101 32x8d
    width_per_group: int = 64
    # the stride of a bottleneck sits in its first 1x1 (MSRA) instead of its 3x3
    stride_in_1x1: bool = False
    # padding of the 3x3 max-pool of stride 2 after the stem: one on every side | TensorFlow's
    # "same", which is one below and on the right where the size is even
    stem_pool_padding: Literal["symmetric", "same"] = "symmetric"
    norm: Norm = "frozen_batch_norm"
    norm_epsilon: float = 1e-5  # 0.0 for torchvision's COCO_V1 files
    norm_groups: int = 32  # of group_norm
    # stages below and including this do not train: 0 none, 1 stem, 2 stem + res2, ...
    freeze_at: int = 2
    last_stage: int = 5  # res2..res5 up to this; 4 where res5 works on RoIs (C4)
    # of res5's 3x3; where it is not 1, res5 keeps res4's stride (DC5)
    res5_dilation: int = 1
    # stage before whose last block a non-local block (Wang et al. 2018) stands; None: nowhere
    non_local_stage: int | None = None

    def __post_init__(self):
        require_choice(self, "norm", annotation=Norm)
        require_choice(self, "stem_pool_padding")
        require_positive(self, "stem_channels", "groups", "width_per_group", "norm_groups")
        require_positive(self, "res5_dilation")
        if not 2 <= self.last_stage <= 5:
            raise ValueError(f"`backbone.last_stage` must be in 2..5. Received: {self.last_stage}")
        if not 0 <= self.freeze_at <= 5:
            raise ValueError(f"`backbone.freeze_at` must be in 0..5. Received: {self.freeze_at}")
        if self.non_local_stage is not None and not 2 <= self.non_local_stage <= self.last_stage:
            raise ValueError(
                f"`backbone.non_local_stage` must be in 2..{self.last_stage}, the last stage. "
                f"Received: {self.non_local_stage}"
            )


@dataclass(frozen=True)
class NeckConfig:
    """What the second half of the network sees of the backbone."""

    # feature pyramid (Lin et al. 2017) | the backbone's last map, as it is (C4, C5)
    name: str = "fpn"
    channels: int = 256  # of the pyramid, as are the next three
    norm: Norm = "none"
    norm_epsilon: float = 1e-5
    norm_groups: int = 32

    def __post_init__(self):
        require_choice(self, "norm", annotation=Norm)
        require_positive(self, "channels")


@dataclass(frozen=True)
class AnchorConfig:
    """Anchors of the region proposal network."""

    # per level, sqrt(area), px
    sizes: tuple[tuple[float, ...], ...] = ((32.0,), (64.0,), (128.0,), (256.0,), (512.0,))
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)  # height / width
    rounded: bool = False  # corners of the cell anchors are rounded to whole pixels, half to even
    # 4, 8, ... | padded image size // level size, per axis
    strides: Literal["fixed", "derived"] = "fixed"
    offset: float = 0.0  # of the grid, in strides: 0.5 puts anchors on cell centres
    order: Literal["size_major", "ratio_major"] = "size_major"  # of the anchors of one cell
    # what x2 and y2 of every box inside the network are: the edge after its last pixel | the number
    # of that pixel, so that a box of one pixel has no area
    box_ends: Literal["edge", "last_pixel"] = "edge"

    def __post_init__(self):
        require_choice(self, "strides", "order", "box_ends")


@dataclass(frozen=True)
class RPNConfig:
    """Region proposal network (Ren et al. 2015)."""

    num_convs: int = 1  # 3x3 convolutions before the two predictors
    channels: int | None = None  # of those convolutions; None: as many as the neck gives
    # of which anchors the best are kept and suppress each other: those of a level | all of them
    rank_within: Literal["level", "image"] = "level"
    pre_nms_top_n: int = 1000  # best anchors kept of those, in inference
    post_nms_top_n: int = 1000  # proposals kept over all levels, in inference
    pre_nms_top_n_train: int = 2000
    post_nms_top_n_train: int = 1000
    nms_threshold: float = 0.7
    # what NMS sorts by; differs only where the sigmoid saturates
    rank_by: Literal["logits", "sigmoid"] = "logits"
    min_size: float = 0.0  # px, network frame; a proposal's sides must be >= this and > 0
    box_coder_weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    foreground_iou: float = 0.7
    background_iou: float = 0.3
    samples_per_image: int = 256
    positive_fraction: float = 0.5
    box_loss: Literal["smooth_l1", "giou"] = "smooth_l1"
    smooth_l1_beta: float = 0.0  # 0: plain L1
    # configured count | drawn count
    loss_divisor: Literal["samples_per_image", "sampled"] = "samples_per_image"

    def __post_init__(self):
        require_choice(self, "rank_by", "rank_within", "loss_divisor", "box_loss")
        require_positive(self, "num_convs", "pre_nms_top_n", "post_nms_top_n", "samples_per_image")
        require_fraction(
            self, "nms_threshold", "foreground_iou", "background_iou", "positive_fraction"
        )


@dataclass(frozen=True)
class PoolerConfig:
    """RoI features (He et al. 2017; level rule: Lin et al. 2017, equation 1)."""

    # what pools: RoIAlign or RoIWarp by the mean of samples or their maximum, RoIPool (table 2c);
    # one sample per bin from corner to corner
    operator: Literal[
        "roi_align", "roi_align_max", "roi_pool", "roi_warp", "roi_warp_max", "roi_crop"
    ] = "roi_align"
    # what works on every pooled RoI before the branches, and halves its side: nothing | the
    # backbone's last stage, which the branches share (C4)
    stage: Literal["none", "res5"] = "none"
    aligned: bool = True  # coordinates shifted by half a pixel before sampling
    sampling_ratio: int = 0  # samples per bin and axis; 0: adaptive, ceil(bin size)
    canonical_size: float = 224.0  # a box of this side goes to ...
    canonical_level: int = 4  # ... this level
    level_rounding: Literal["floor", "nearest"] = "floor"  # of the level's logarithm
    level_epsilon: float = 1e-8  # added to side / canonical_size, or to its logarithm:
    level_epsilon_on: Literal["ratio", "logarithm"] = "ratio"

    def __post_init__(self):
        require_choice(self, "operator", "stage", "level_rounding", "level_epsilon_on")
        if not 0 <= self.sampling_ratio <= 64:
            raise ValueError(
                f"`pooler.sampling_ratio` must be from 0 to 64. Received: {self.sampling_ratio}"
            )


@dataclass(frozen=True)
class BoxConfig:
    """Box branch: class logits and box deltas of every RoI (Girshick 2015)."""

    pooled_size: int = 7
    num_convs: int = 0  # 3x3 convolutions before the fully connected layers (4 in "4conv1fc" heads)
    conv_channels: int = 256
    # from a map to the vector that the fully connected layers see: all of it | its mean (C4)
    reduce: Literal["flatten", "mean"] = "flatten"
    num_fcs: int = 2
    fc_channels: int = 1024
    norm: Norm = "none"  # of the convolutions
    norm_epsilon: float = 1e-5
    norm_groups: int = 32
    class_agnostic: bool = False  # one set of deltas for all classes
    # classes a RoI may become detections of: all that score enough | its most probable one, if that
    # is not the background
    classes_per_roi: Literal["all", "best"] = "all"
    box_coder_weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    foreground_iou: float = 0.5
    samples_per_image: int = 512
    positive_fraction: float = 0.25
    box_loss: Literal["smooth_l1", "giou"] = "smooth_l1"
    smooth_l1_beta: float = 0.0  # 0: plain L1
    score_threshold: float = 0.05  # detections must score above this
    nms_threshold: float = 0.5  # per class
    max_detections: int = 100
    min_size: float = 0.0  # px, network frame; sides must be >= this

    def __post_init__(self):
        require_choice(self, "norm", annotation=Norm)
        require_choice(self, "box_loss", "reduce", "classes_per_roi")
        require_positive(self, "pooled_size", "max_detections", "samples_per_image")
        require_fraction(
            self, "foreground_iou", "positive_fraction", "score_threshold", "nms_threshold"
        )
        if self.num_convs + self.num_fcs == 0 and self.reduce == "flatten":
            raise ValueError(
                "`box` needs at least one layer: set `num_convs` or `num_fcs` above 0."
            )


@dataclass(frozen=True)
class MaskConfig:
    """Mask branch: one small mask per class and RoI (He et al. 2017)."""

    pooled_size: int = 14  # the mask has twice the side that the pooler gives
    # what makes masks of RoI features: convolutions | fully connected layers (table 2e)
    head: Literal["fcn", "mlp"] = "fcn"
    num_convs: int = 4  # of fcn, as are the next four
    channels: int = 256
    norm: Norm = "none"
    norm_epsilon: float = 1e-5
    norm_groups: int = 32
    num_fcs: int = 2  # of mlp, before the one that gives the pixels; 3 in "MLP+"
    fc_channels: int = 1024  # of mlp
    class_agnostic: bool = False
    # each class's mask on its own | in competition with the others and the background, pixel by
    # pixel (table 2b)
    activation: Literal["sigmoid", "softmax"] = "sigmoid"
    # ground truth pooled to the RoI: as it is | thresholded at 0.5
    target: Literal["soft", "binary"] = "binary"
    # how a mask is put back on the image
    paste: Literal["grid_sample", "integer_box", "resize_into_box"] = "grid_sample"
    threshold: float = 0.5  # of the pasted mask

    def __post_init__(self):
        require_choice(self, "norm", annotation=Norm)
        require_choice(self, "head", "activation", "target", "paste")
        require_positive(self, "pooled_size", "channels", "num_fcs", "fc_channels")
        require_fraction(self, "threshold")
        if self.class_agnostic and self.activation == "softmax":
            raise ValueError(
                "`mask.class_agnostic` goes with `mask.activation` sigmoid: one mask has nothing "
                "to compete with."
            )


@dataclass(frozen=True)
class KeypointConfig:
    """Keypoint branch: one heatmap per keypoint and RoI (He et al. 2017, section 5)."""

    num_keypoints: int = 17
    names: tuple[str, ...] | None = None  # one per keypoint
    # pairs of indices that change places in a mirror, such as left and right eye
    flip_pairs: tuple[tuple[int, int], ...] = ()
    skeleton: tuple[tuple[int, int], ...] = ()  # pairs of indices between which lines are drawn
    # tolerances of COCO's object keypoint similarity, one per keypoint; None: those of COCO's 17
    sigmas: tuple[float, ...] | None = None
    # px, from the numbers of annotations to the coordinates that are learned and predicted: whole
    # numbers name pixels, and their centres are meant | 0.0: they are taken as coordinates
    annotation_offset: float = 0.5
    pooled_size: int = 14  # the heatmap has four times the side that the pooler gives
    num_convs: int = 8
    channels: int = 512
    # of a decoded point: share of the softmax over the heatmap | the heatmap's value
    score: Literal["probability", "logit"] = "probability"
    visible_score: float = 0.05  # points that score less are not drawn
    # visible keypoints of the step | all keypoints of as many RoIs as could be foreground
    loss_divisor: Literal["visible", "configured"] = "visible"

    def __post_init__(self):
        require_choice(self, "score", "loss_divisor")
        require_positive(self, "num_keypoints", "pooled_size", "channels")
        for name in ("names", "sigmas"):
            value = getattr(self, name)
            if value is not None and len(value) != self.num_keypoints:
                raise ValueError(
                    f"`keypoint.{name}` must have one entry per keypoint ({self.num_keypoints}). "
                    f"Received {len(value)} entries."
                )
        for name in ("flip_pairs", "skeleton"):
            indices = [index for pair in getattr(self, name) for index in pair]
            if any(not 0 <= index < self.num_keypoints for index in indices):
                raise ValueError(
                    f"`keypoint.{name}` must have indices in 0..{self.num_keypoints - 1}. "
                    f"Received: {getattr(self, name)}"
                )

    @property
    def is_scorable(self) -> bool:
        """Whether COCO's rules know how far a point may lie off."""
        return self.sigmas is not None or self.num_keypoints == 17


@dataclass(frozen=True)
class Checkpoint:
    """A published weight file of a preset."""

    # name of a converter in kmrcnn.weights: torchvision | detectron2 | matterport | native
    format: str = "native"
    url: str | None = None  # where it is published
    # full digest or its leading digits, as far as the publisher states it
    sha256: str | None = None
    # full MD5 digest or its leading digits
    md5: str | None = None
    file: str | None = None  # or: name of a file that is part of the package
    size: int | None = None  # bytes, if known
    licence: str | None = None
    box_ap: float | None = None  # published figures
    mask_ap: float | None = None
    keypoint_ap: float | None = None


@dataclass(frozen=True)
class ModelConfig:
    """Everything `build_model` needs."""

    num_classes: int = 80  # foreground classes; the background is the last logit
    class_names: tuple[str, ...] | None = None  # one per class
    category_ids: tuple[int, ...] | None = None  # one per class, for COCO files; None: index + 1
    input: InputConfig = field(default_factory=InputConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    neck: NeckConfig = field(default_factory=NeckConfig)
    anchors: AnchorConfig = field(default_factory=AnchorConfig)
    rpn: RPNConfig = field(default_factory=RPNConfig)
    pooler: PoolerConfig = field(default_factory=PoolerConfig)
    box: BoxConfig = field(default_factory=BoxConfig)
    mask: MaskConfig | None = field(default_factory=MaskConfig)  # None: Faster R-CNN
    keypoint: KeypointConfig | None = None

    def __post_init__(self):
        require_positive(self, "num_classes")
        if self.pooler.stage == "res5" and self.backbone.last_stage != 4:
            raise ValueError(
                "`pooler.stage` res5 goes with `backbone.last_stage` 4. "
                f"Received: {self.backbone.last_stage}"
            )
        if self.input.placement == "centre" and self.keypoint is not None:
            raise ValueError("`keypoint` goes with `input.placement` corner only.")
        for name in ("class_names", "category_ids"):
            value = getattr(self, name)
            if value is not None and len(value) != self.num_classes:
                raise ValueError(
                    f"`{name}` must have one entry per class ({self.num_classes}). "
                    f"Received {len(value)} entries."
                )

    def to_dict(self) -> dict[str, Any]:
        """Nested plain dict, lists for tuples; `config.loader.from_dict(ModelConfig, d)` is the
        inverse.
        """
        return _plain(self)


@dataclass(frozen=True)
class Preset:
    """One YAML file of ``configs/``: a model and its published weights."""

    name: str = ""
    description: str = ""
    model: ModelConfig = field(default_factory=ModelConfig)
    # e.g. {"coco": Checkpoint(...)}
    checkpoints: dict[str, Checkpoint] = field(default_factory=dict)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return value
