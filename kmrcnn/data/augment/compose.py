"""Which transforms a configuration means, in which order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from kmrcnn.config.data_schema import DataConfig
from kmrcnn.data.augment.color import ColorJitter, RandomGray
from kmrcnn.data.augment.copy_paste import CopyPaste
from kmrcnn.data.augment.crop import RandomCrop
from kmrcnn.data.augment.flip import HorizontalFlip, VerticalFlip
from kmrcnn.data.augment.iou_crop import IoUCrop
from kmrcnn.data.augment.keypoint_offset import KeypointOffset
from kmrcnn.data.augment.quarter_turn import RandomQuarterTurn
from kmrcnn.data.augment.rotate import RandomRotation
from kmrcnn.data.augment.scale_jitter import ScaleJitter
from kmrcnn.data.example import Example
from kmrcnn.structures.keypoint_layout import left_right_pairs

# image, boxes, masks and key points together; all that is random comes from the generator
Transform = Callable[[Example, np.random.Generator], Example]


@dataclass(frozen=True)
class Compose:
    """Applies transforms one after the other.

    Args:
        transforms: From the first to the last.

    Example:
        >>> augment = Compose([HorizontalFlip(0.5), ColorJitter(brightness=0.2)])
        >>> changed = augment(example, np.random.default_rng(0))
    """

    transforms: Sequence[Transform]

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        for transform in self.transforms:
            example = transform(example, rng)
        return example


def make_augmentation(config: DataConfig, dataset: Sequence[Example]) -> Compose:
    """The transforms of a configuration: geometry, copy-paste, colours.

    Args:
        config: Only what it turns on is in the result.
        dataset: Where copy-paste takes the other picture. Its `keypoint_names`, if it has any, say
            which key points change places in a flip, unless the configuration does.
    """
    geometry = Compose(_geometric_transforms(config, dataset))
    transforms: list[Transform] = [geometry]
    if config.copy_paste:

        def draw_other(rng: np.random.Generator) -> Example:
            return geometry(dataset[int(rng.integers(len(dataset)))], rng)

        transforms.append(CopyPaste(draw_other, config.copy_paste))
    return Compose(transforms + _color_transforms(config))


def _geometric_transforms(config: DataConfig, dataset: Sequence[Example]) -> list[Transform]:
    pairs = tuple(left_right_pairs(getattr(dataset, "keypoint_names", ())))
    transforms: list[Transform] = []
    if config.keypoints is not None:
        pairs = config.keypoints.flip_pairs or pairs
        transforms.append(KeypointOffset(config.keypoints.annotation_offset))
    if config.horizontal_flip:
        transforms.append(HorizontalFlip(config.horizontal_flip, pairs))
    if config.vertical_flip:
        transforms.append(VerticalFlip(config.vertical_flip, pairs))
    if config.quarter_turn:
        transforms.append(RandomQuarterTurn(config.quarter_turn))
    if config.rotation:
        transforms.append(RandomRotation(config.rotation))
    if config.crop == "relative_range":
        transforms.append(RandomCrop(config.crop_side))
    if config.crop == "iou":
        transforms.append(IoUCrop())
    if config.scale_jitter is not None:
        jitter = config.scale_jitter
        transforms.append(ScaleJitter(jitter.size, jitter.min_scale, jitter.max_scale))
    return transforms


def _color_transforms(config: DataConfig) -> list[Transform]:
    color, transforms = config.color, []
    strengths = (color.brightness, color.contrast, color.saturation, color.hue)
    if any(strengths):
        transforms.append(ColorJitter(*strengths, color.probability))
    if color.gray:
        transforms.append(RandomGray(color.gray))
    return transforms
