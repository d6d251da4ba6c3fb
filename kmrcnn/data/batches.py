"""Examples to the batches that `model.fit` takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kmrcnn.config.schema import InputConfig
from kmrcnn.data.example import Example
from kmrcnn.data.preprocess import pad_to_canvas


class ExampleBatches(keras.utils.PyDataset):
    """Batches of examples at their own size, optionally flipped, in an order drawn anew for every
    epoch.

    Args:
        examples: A dataset, e.g. `SyntheticScenes`.
        config: The model's input settings: channel order and padding.
        batch_size: Pictures per batch; the last incomplete batch is left out.
        max_objects: Slots for ground truth per picture; further objects are dropped, smallest
            first. Crowds and objects without a pixel are no ground truth.
        flip: Mirror every other picture left to right and top to bottom, at random.
        seed: Of the order and the flips.
        **kwargs: `workers`, `use_multiprocessing`, `max_queue_size` of `keras.utils.PyDataset`.

    Items:
        ({"images": (B, H, W, C) float32, "image_sizes": (B, 2) int32, "targets": {"boxes": (B, N,
        4) float32, "classes": (B, N) int32, "valid": (B, N) bool, "masks": (B, N, H, W) uint8}},):
        `GeneralizedRCNN`'s inputs.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        config: InputConfig,
        batch_size: int,
        max_objects: int = 32,
        flip: bool = True,
        seed: int = 0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if batch_size < 1 or len(examples) < batch_size:
            raise ValueError(
                "`batch_size` must be in 1..number of examples. "
                f"Received: batch_size={batch_size}, {len(examples)} examples"
            )
        self.examples = examples
        self.config = config
        self.batch_size = batch_size
        self.max_objects = max_objects
        self.flip = flip
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.examples) // self.batch_size

    def __getitem__(self, index: int) -> tuple[dict[str, Any]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.examples))
        members = order[index * self.batch_size : (index + 1) * self.batch_size]
        flips = (
            np.random.default_rng((self.seed, self.epoch, index)).random((len(members), 2)) < 0.5
        )
        return (self._collate([self._load(i, *f) for i, f in zip(members, flips)]),)

    def on_epoch_end(self):
        self.epoch += 1

    def _load(
        self, index: int, mirror: bool, upend: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image (H, W, C), masks (n, H, W) bool, classes (n,)."""
        example = self.examples[int(index)]
        image, masks = example.image, example.full_masks()
        if self.flip:
            step_y, step_x = (-1 if upend else 1), (-1 if mirror else 1)
            image, masks = image[::step_y, ::step_x], masks[:, ::step_y, ::step_x]
        if self.config.channel_order == "bgr":
            image = image[..., ::-1]
        largest = np.argsort(-example.area, kind="stable")
        usable = masks.any(axis=(1, 2)) & ~example.is_crowd
        largest = largest[usable[largest]][: self.max_objects]
        return image, masks[largest], example.classes[largest]

    def _collate(self, loaded: list) -> dict[str, Any]:
        images, sizes = pad_to_canvas([image for image, _, _ in loaded], self.config.pad_multiple)
        slots = (len(loaded), self.max_objects)
        targets = {
            "boxes": np.zeros((*slots, 4), np.float32),
            "classes": np.zeros(slots, np.int32),
            "valid": np.zeros(slots, bool),
            "masks": np.zeros((*slots, *images.shape[1:3]), np.uint8),
        }
        for row, (image, masks, classes) in enumerate(loaded):
            number, (height, width) = len(classes), image.shape[:2]
            targets["boxes"][row, :number] = [_tight_box(mask) for mask in masks] if number else 0
            targets["classes"][row, :number] = classes
            targets["valid"][row, :number] = True
            targets["masks"][row, :number, :height, :width] = masks
        return {"images": images, "image_sizes": sizes, "targets": targets}


def _tight_box(mask: np.ndarray) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
