"""The second stage: proposals to detections with instance outputs."""

from __future__ import annotations

import keras

from kmrcnn.heads.box import BoxBranch
from kmrcnn.structures.typing import Tensor
from kmrcnn.targets.roi_sampler import sample_rois


class RoIHeads(keras.layers.Layer):
    """A box branch, and branches that work on its detections.

    Args:
        box: The `BoxBranch`.
        branches: Instance branches by name, e.g. {"mask": MaskBranch(...)}. In inference a branch
            is called on the detections and its `decode` adds outputs; in training its
            `compute_losses` sees the sampled RoIs.
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
        outputs = self.box(features, proposals["boxes"], proposals["valid"])
        detections = self.box.decode(outputs, proposals, image_sizes)
        found = {}
        for branch in self.branches.values():
            outputs = branch(
                features, detections["boxes"], detections["classes"], detections["valid"]
            )
            found |= branch.decode(outputs, detections)
        return detections | found

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
