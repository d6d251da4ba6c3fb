"""Settings of the training pipeline: augmentation, batches, sampling.

Augmentations are listed in the order in which they are applied; all are off but the horizontal
flip, which is the published recipes' only one besides the size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import pi
from typing import Literal

from kmrcnn.config.checks import require_choice, require_fraction, require_positive


@dataclass(frozen=True)
class ScaleJitterConfig:
    """Large-scale jitter (Ghiasi et al. 2021, section 3.1; "LSJ" in both reference systems)."""

    size: tuple[int, int] = (1024, 1024)  # (height, width) of the pictures it makes
    min_scale: float = 0.1  # 1.0 fits the picture into `size`
    max_scale: float = 2.0

    def __post_init__(self):
        require_positive(self, "min_scale", "max_scale")
        if min(self.size) < 1:
            raise ValueError(f"`scale_jitter.size` must be positive. Received: {self.size}")
        if self.min_scale > self.max_scale:
            raise ValueError(
                "`scale_jitter.min_scale` must not be above `max_scale`. "
                f"Received: {self.min_scale}, {self.max_scale}"
            )


@dataclass(frozen=True)
class ColorConfig:
    """Colour jitter: a strength s draws factors from [1 - s, 1 + s]; 0 is off."""

    probability: float = 0.8  # chance that a picture's colours are changed at all
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0  # largest shift, as a fraction of the colour circle, up to 0.5
    gray: float = 0.0  # chance of a picture in gray, whatever `probability` says

    def __post_init__(self):
        require_fraction(self, "probability", "brightness", "contrast", "saturation", "hue", "gray")
        if self.hue > 0.5:
            raise ValueError(f"`color.hue` must be in [0, 0.5]. Received: {self.hue}")


@dataclass(frozen=True)
class KeypointDataConfig:
    """Keypoints as a model learns them. A training run fills this from `model.keypoint`."""

    number: int = 17  # J
    annotation_offset: float = 0.5  # px, see `KeypointConfig`
    # pairs of indices that change places in a mirror; empty: as the data set's names say
    flip_pairs: tuple[tuple[int, int], ...] = ()

    def __post_init__(self):
        require_positive(self, "number")


@dataclass(frozen=True)
class DataConfig:
    """From a dataset to the batches of `make_pipeline`."""

    # Augmentation; chances are per picture. It is left out where `training` is False.
    horizontal_flip: float = 0.5  # chance
    vertical_flip: float = 0.0  # chance
    quarter_turn: float = 0.0  # chance of a rotation by 90, 180 or 270 degrees
    rotation: float = 0.0  # largest angle either way, in radians; 0 is off
    # "relative_range": sides of at least `crop_side` of the picture's (Detectron2)
    # "iou": windows that overlap an object well (Liu et al. 2016, SSD)
    crop: Literal["none", "relative_range", "iou"] = "none"
    crop_side: float = 0.9  # of "relative_range"
    scale_jitter: ScaleJitterConfig | None = None  # takes the place of the resizing below
    copy_paste: float = 0.0  # chance that objects of another picture are pasted in; needs masks
    color: ColorConfig = field(default_factory=ColorConfig)

    # Size of the network frame. Empty: `input.short_side`, in training too.
    short_sides: tuple[int, ...] = ()  # px, in training; the longer side stays within the input's
    # one of `short_sides` | any length between its least and largest
    short_side_sampling: Literal["choice", "range"] = "choice"

    # Batches
    masks: bool = True  # False: the model learns none
    keypoints: KeypointDataConfig | None = None  # None: the model learns none
    mask_crop_size: int = 112  # masks travel as crops of this many cells squared
    # a batch has as many object slots as the fullest picture needs, rounded up to one of these;
    # beyond the last, a picture's smallest objects are dropped
    slots: tuple[int, ...] = (8, 32, 128, 512)
    # (height, width): a batch is padded to the smallest that holds it, else to the pad multiple
    canvas_sizes: tuple[tuple[int, int], ...] = ()
    group_by_orientation: bool = True  # a batch holds upright or lying pictures, not both
    repeat_threshold: float = 0.0  # t of repeat-factor sampling (Gupta et al. 2019); 0 is off
    # training leaves out pictures with fewer labelled keypoints (Detectron2 1, torchvision 10)
    min_keypoints: int = 0
    workers: int = 0  # threads that make examples; 0: as many as there are cores
    prefetch: int = 2  # batches that wait ready

    def __post_init__(self):
        require_choice(self, "crop", "short_side_sampling")
        require_fraction(
            self,
            "horizontal_flip",
            "vertical_flip",
            "quarter_turn",
            "crop_side",
            "copy_paste",
            "repeat_threshold",
        )
        require_positive(self, "crop_side", "mask_crop_size")
        self._check_sizes()
        if not 0 <= self.rotation <= pi:
            raise ValueError(f"`rotation` must be in [0, pi] radians. Received: {self.rotation}")
        if self.copy_paste and not self.masks:
            raise ValueError("`copy_paste` cuts objects out by their masks: `masks` must be true.")
        for name in ("workers", "prefetch", "min_keypoints"):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"`{name}` must not be negative. Received: {name}={getattr(self, name)}"
                )

    def _check_sizes(self):
        if any(side < 1 for side in self.short_sides):
            raise ValueError(f"`short_sides` must be positive. Received: {self.short_sides}")
        if self.mask_crop_size < 4:
            raise ValueError(f"`mask_crop_size` must be >= 4. Received: {self.mask_crop_size}")
        if not self.slots or list(self.slots) != sorted(set(self.slots)) or self.slots[0] < 1:
            raise ValueError(f"`slots` must be ascending, positive. Received: {self.slots}")
        if any(side < 1 for size in self.canvas_sizes for side in size):
            raise ValueError(f"`canvas_sizes` must be positive. Received: {self.canvas_sizes}")
