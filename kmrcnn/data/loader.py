"""One picture of an epoch: read, augmented, in the network frame, with its targets."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from kmrcnn.config.data_schema import DataConfig
from kmrcnn.config.schema import InputConfig
from kmrcnn.data.augment.compose import make_augmentation
from kmrcnn.data.augment.keypoint_offset import KeypointOffset
from kmrcnn.data.augment.multi_scale import draw_short_side
from kmrcnn.data.example import Example
from kmrcnn.data.preprocess import network_size, to_network
from kmrcnn.data.targets import Targets, make_targets


class ExampleLoader:
    """What a draw becomes; depends on (seed, epoch, index, repeat) only, so that any worker may
    make it at any time.

    Args:
        dataset: Any sequence of examples.
        input_config: The model's input settings.
        data_config: Augmentation and the form of the targets.
        training: Augment.
        seed: Of the augmentation.
    """

    def __init__(
        self,
        dataset: Sequence[Example],
        input_config: InputConfig,
        data_config: DataConfig,
        training: bool,
        seed: int,
    ):
        self.dataset = dataset
        self.input_config = input_config
        self.data_config = data_config
        self.training = training
        self.seed = seed
        self.augment = make_augmentation(data_config, dataset)
        keypoints = data_config.keypoints
        self.move_keypoints = KeypointOffset(keypoints.annotation_offset if keypoints else 0.0)

    def load(self, epoch: int, index: int, repeat: int = 0) -> tuple[np.ndarray, Targets]:
        """Image (h, w, C) float32, 0-255, in the model's channel order, and its targets.

        Args:
            epoch: Number of the epoch.
            index: Of the picture in the dataset.
            repeat: How often the picture was drawn in this epoch before.

        Raises:
            ValueError: The picture cannot be read, has no masks or no keypoints that the model is
                to learn, or another channel count than the model.
        """
        example, config = self.dataset[index], self.input_config
        if self.training:
            rng = np.random.default_rng((self.seed, epoch, index, repeat))
            example = self.augment(example, rng)
            config = self._training_size(example, rng)
        else:
            example = self.move_keypoints(example)
        if example.image.shape[2] != config.channels:
            raise ValueError(
                f"Image {example.image_id!r} must have the model's {config.channels} channels. "
                f"Received: image.shape={example.image.shape}"
            )
        data = self.data_config
        targets = make_targets(
            example,
            network_size(example.size, config),
            data.mask_crop_size if data.masks else None,
            data.slots[-1],
            data.keypoints.number if data.keypoints else None,
        )
        return to_network(example.image, config), targets

    def _training_size(self, example: Example, rng: np.random.Generator) -> InputConfig:
        if self.data_config.scale_jitter is None:
            return draw_short_side(self.input_config, self.data_config, rng)
        # Scale jitter has made the network frame; it must not be resized again.
        return dataclasses.replace(
            self.input_config, short_side=min(example.size), long_side=max(example.size)
        )
