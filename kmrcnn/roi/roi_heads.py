"""The second stage: proposals to detections with instance outputs."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from kmrcnn.heads.box import BoxBranch
from kmrcnn.structures.typing import Tensor
from kmrcnn.targets.roi_sampler import sample_rois


class RoIHeads(keras.layers.Layer):
    """A box branch, and branches that work on its detections.

    Args:
        box: The `BoxBranch`.
        branches: Instance branches by name, e.g. {"mask": MaskBranch(...)}. In inference a branch
            is called on the detections and its `decode` adds outputs, its `average` joins several
            views of a picture; in training its `compute_losses` sees the sampled RoIs.
        seed: Seeds the sampling of RoIs in training.

    Call arguments:
        features: {"P2": (B, h, w, C), ...}.
        proposals: {"boxes": (B, R, 4), "valid": (B, R), ...}, network frame.
        image_sizes: (B, 2) int32.

    Returns:
        {"boxes": (B, D, 4), "scores": (B, D), "classes": (B, D), "valid": (B, D), "masks": (B, D,
        M, M), ...}.
    """

    def __init__(
        self,
        box: BoxBranch,
        branches: dict[str, keras.layers.Layer],
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # boxes keep float32
        self.box = box
        self.branches = dict(branches)
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, features_shape, proposals_shape=None, image_sizes_shape=None):
        self.box.build(features_shape)
        for branch in self.branches.values():
            branch.build(features_shape)

    def call(self, features, proposals, image_sizes):
        detections = self.detect(features, proposals, image_sizes)
        return detections | self.decode(self.describe(features, detections), detections)

    def detect(self, features, proposals, image_sizes) -> dict[str, Tensor]:
        """The box branch's detections: {"boxes": (B, D, 4), "scores", "classes", "valid"}."""
        outputs = self.box(features, proposals["boxes"], proposals["valid"])
        return self.box.decode(outputs, proposals, image_sizes)

    def describe(self, features, detections) -> dict[str, Tensor]:
        """What each branch says about given boxes, by the branch's name, not decoded."""
        boxes, classes, valid = (detections[name] for name in ("boxes", "classes", "valid"))
        return {
            name: branch(features, boxes, classes, valid) for name, branch in self.branches.items()
        }

    def average(
        self, views: Sequence[dict[str, Tensor]], mirrored: Sequence[bool]
    ) -> dict[str, Tensor]:
        """What `describe` gave for the same boxes in several views of a picture, as one answer.

        Args:
            views: One result each.
            mirrored: Which views are of the mirrored picture.
        """
        return {
            name: branch.average([view[name] for view in views], mirrored)
            for name, branch in self.branches.items()
        }

    def decode(self, outputs: dict[str, Tensor], detections) -> dict[str, Tensor]:
        """The instance outputs of what `describe` gave: {"masks": (B, D, M, M), ...}."""
        found = {}
        for name, branch in self.branches.items():
            found |= branch.decode(outputs[name], detections)
        return found

    def compute_output_spec(self, features, proposals, image_sizes):
        batch = proposals["boxes"].shape[0]
        specs = self.box.decoded_spec(batch)
        for branch in self.branches.values():
            specs |= branch.decoded_spec(batch, self.box.config.max_detections)
        return specs

    def compute_losses(
        self, features, proposals, targets: dict[str, Tensor], training=None
    ) -> dict[str, Tensor]:
        """Sample RoIs, then the losses of every branch by name."""
        config = self.box.config
        samples = sample_rois(
            proposals,
            targets,
            self.box.num_classes,
            config.samples_per_image,
            config.positive_fraction,
            config.foreground_iou,
            self.seed_generator,
        )
        outputs = self.box(features, samples.boxes, samples.valid, training=training)
        losses = self.box.compute_losses(outputs, self.box.make_targets(samples, targets), samples)
        for branch in self.branches.values():
            losses |= branch.compute_losses(features, samples, targets, training=training)
        return losses
