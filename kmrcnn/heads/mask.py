"""Mask branch: a small mask for every RoI and class (He et al. 2017, figure 4 right)."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import ops

from kmrcnn.config.schema import MaskConfig
from kmrcnn.heads.mask_classes import CompetingClasses, IndependentClasses, MaskHead
from kmrcnn.roi.blocks import in_blocks
from kmrcnn.roi.packing import PackedRoIs, pack, pack_values, unpack
from kmrcnn.structures.lowering import NATIVE, Lowering
from kmrcnn.structures.typing import Tensor
from kmrcnn.targets.mask_targets import mask_targets
from kmrcnn.targets.roi_sampler import Samples


class MaskBranch(keras.layers.Layer):
    """Pools the features of RoIs, and has a head make masks of them.

    Args:
        config: Target rule.
        pooler: A `RoIPooler`.
        head: Makes masks of RoI features, as many as `classes` wants.
        classes: How the masks of the classes relate, and the loss that follows from it.
        lowering: Whether unused slots are computed too.

    Call arguments:
        features: {"P2": (B, h, w, C), ...}.
        boxes: (B, R, 4), xyxy, network frame.
        classes: (B, R) int32 in 0..K-1, the class whose mask is wanted.
        valid: (B, R) bool; other slots give 0, and are not computed where that saves time.

    Returns:
        Logits (B, R, M, M) float32, M = twice the pooler's side; 0 in unused slots.
    """

    def __init__(
        self,
        config: MaskConfig,
        pooler: keras.layers.Layer,
        head: MaskHead,
        classes: IndependentClasses | CompetingClasses,
        lowering: Lowering = NATIVE,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # boxes keep float32
        self.config = config
        self.pooler = pooler
        self.head = head
        self.classes = classes
        self.lowering = lowering

    def build(self, features_shape, boxes_shape=None, classes_shape=None, valid_shape=None):
        if not self.pooler.built:
            self.pooler.build(features_shape)
        side = self.pooler.output_size
        self.head.build((None, side, side, self.pooler.channels))

    def call(self, features, boxes, classes, valid, training=None):
        packed = pack(boxes, valid, self.lowering.static)

        def predict(rois, wanted):
            return {"logits": self.predict_packed(features, rois, wanted, training)}

        side = self.pooler.output_size
        shapes = {"logits": (2 * side, 2 * side)}
        values = [pack_values(classes, packed)]
        found = in_blocks(predict, packed, values, valid, shapes, self.lowering, side)
        return unpack(found["logits"], packed, valid)

    def predict_packed(self, features, packed: PackedRoIs, classes=None, training=None) -> Tensor:
        """Logits (N, M, M) of the given classes (N,), or the head's for all: (N, M, M, K)."""
        x = self._pool(features, packed, training)
        if classes is None:
            return self.head(x, training=training)
        return self.classes.logits(self.head, x, classes, training)

    def _pool(self, features, packed: PackedRoIs, training) -> Tensor:
        """RoI features (N, P, P, C)."""
        return self.pooler(features, packed.boxes, packed.batch_indices, training=training)

    def compute_losses(
        self, features, samples: Samples, targets: dict[str, Tensor], training=None
    ) -> dict[str, Tensor]:
        """{"loss_mask": scalar}, computed on foreground RoIs only.

        Args:
            features: As in the call.
            samples: The RoIs of the step.
            targets: {"masks": (B, N, S, S) 0 or 1, "mask_windows": (B, N, 4) xyxy, ...}: crops and
                the rectangles they cover, network frame.
            training: Passed to the normalisation.
        """
        packed = pack(samples.boxes, samples.foreground)
        foreground = pack_values(samples.foreground, packed)
        classes = ops.where(foreground, pack_values(samples.classes, packed), 0)
        goals = self.make_targets(packed, samples, targets)
        x = self._pool(features, packed, training)
        loss = self.classes.loss(self.head, x, classes, goals, foreground, training)
        return {"loss_mask": loss}

    def make_targets(self, packed: PackedRoIs, samples: Samples, targets) -> Tensor:
        """(N, M, M): the matched ground-truth masks in the frame of the packed boxes."""
        return mask_targets(
            targets["masks"],
            targets["mask_windows"],
            packed.boxes,
            packed.batch_indices,
            pack_values(samples.gt_index, packed),
            2 * self.pooler.output_size,
            self.config.target,
        )

    def average(self, views: Sequence[Tensor], mirrored: Sequence[bool]) -> Tensor:
        """Logits of the mean probability, from logits of several views of the same boxes.

        Args:
            views: (B, D, M, M) each.
            mirrored: Which views are of the mirrored picture.
        """
        upright = [ops.flip(view, axis=3) if flip else view for view, flip in zip(views, mirrored)]
        mean = ops.mean(ops.sigmoid(ops.stack(upright)), axis=0)
        return ops.log(mean) - ops.log1p(-mean)

    def decode(self, logits: Tensor, detections: dict[str, Tensor]) -> dict[str, Tensor]:
        """{"masks": (B, D, M, M) probabilities}; 0 in unused slots."""
        return {"masks": ops.where(detections["valid"][..., None, None], ops.sigmoid(logits), 0.0)}

    def decoded_spec(self, batch: int | None, number: int) -> dict[str, keras.KerasTensor]:
        """Shapes and types of what `decode` returns for `number` detections."""
        side = 2 * self.pooler.output_size
        return {"masks": keras.KerasTensor((batch, number, side, side), "float32")}
