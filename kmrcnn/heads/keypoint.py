"""Keypoint branch: a heatmap for every RoI and keypoint (He et al. 2017, section 5)."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import ops

from kmrcnn.config.schema import KeypointConfig
from kmrcnn.layers.conv_norm_act import ConvNormAct
from kmrcnn.layers.deconv_upsample import Deconv4x4, double
from kmrcnn.losses.keypoint import keypoint_loss
from kmrcnn.postprocess.keypoint_window import search_windows
from kmrcnn.roi.blocks import in_blocks
from kmrcnn.roi.packing import PackedRoIs, pack, pack_values, unpack
from kmrcnn.structures.keypoint_layout import left_right_pairs, mirrored_order
from kmrcnn.structures.lowering import NATIVE, Lowering
from kmrcnn.structures.typing import Tensor
from kmrcnn.targets.keypoint_targets import KeypointTargets, keypoint_targets
from kmrcnn.targets.roi_sampler import Samples


class KeypointBranch(keras.layers.Layer):
    """Convolutions, a 4x4 deconvolution, a bilinear doubling.

    The doubling needs no weights and makes heatmaps four times as large, so `call` leaves it to
    those who look at them.

    Args:
        config: Layers, rules of decoding and of the loss.
        pooler: A `RoIPooler`.
        foreground_samples: Foreground RoIs that training means to draw per image; only the loss
            divisor "configured" wants it.
        lowering: Whether unused slots are computed too.

    Call arguments:
        features: {"P2": (B, h, w, C), ...}.
        boxes: (B, R, 4), xyxy, network frame.
        classes: Not looked at: all classes have the same keypoints.
        valid: (B, R) bool; other slots give 0, and are not computed where that saves time.

    Returns:
        Logits (B, R, M / 2, M / 2, J) float32, M = four times the pooler's side; 0 in unused slots.
    """

    def __init__(
        self,
        config: KeypointConfig,
        pooler: keras.layers.Layer,
        foreground_samples: float = 128.0,
        lowering: Lowering = NATIVE,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # boxes keep float32
        self.config = config
        self.pooler = pooler
        self.foreground_samples = foreground_samples
        self.lowering = lowering
        self.convs = [
            ConvNormAct(config.channels, 3, name=f"conv{i}") for i in range(1, config.num_convs + 1)
        ]
        self.deconv = Deconv4x4(config.num_keypoints, name="deconv")

    def build(self, features_shape, boxes_shape=None, classes_shape=None, valid_shape=None):
        if not self.pooler.built:
            self.pooler.build(features_shape)
        channels = self.pooler.channels
        for conv in self.convs:
            conv.build((None, None, None, channels))
            channels = conv.filters
        self.deconv.build((None, None, None, channels))

    def call(self, features, boxes, classes, valid, training=None):
        packed = pack(boxes, valid, self.lowering.static)

        def predict(rois):
            return {"logits": self.predict_packed(features, rois, training)}

        side = self.pooler.output_size
        shapes = {"logits": (2 * side, 2 * side, self.config.num_keypoints)}
        found = in_blocks(predict, packed, [], valid, shapes, self.lowering, side)
        return unpack(found["logits"], packed, valid)

    def predict_packed(self, features, packed: PackedRoIs, training=None) -> Tensor:
        """Logits (N, M / 2, M / 2, J)."""
        # (N, P, P, C)
        x = self.pooler(features, packed.boxes, packed.batch_indices, training=training)
        for conv in self.convs:
            x = conv(x, training=training)
        return ops.cast(self.deconv(x), "float32")

    def compute_losses(
        self, features, samples: Samples, targets: dict[str, Tensor], training=None
    ) -> dict[str, Tensor]:
        """{"loss_keypoint": scalar}, computed on foreground RoIs only.

        Args:
            features: As in the call.
            samples: The RoIs of the step.
            targets: {"keypoints": (B, N, J, 3) x, y, visibility, network frame, ...}.
            training: Passed to the pooler.
        """
        packed = pack(samples.boxes, samples.foreground)
        foreground = pack_values(samples.foreground, packed)
        goals = self.make_targets(packed, samples, targets)
        logits = double(self.predict_packed(features, packed, training))
        valid = ops.logical_and(goals.valid, foreground[:, None])
        divisor = None
        if self.config.loss_divisor == "configured":
            images = ops.cast(ops.shape(samples.boxes)[0], "float32")
            divisor = images * (self.foreground_samples * self.config.num_keypoints)
        return {"loss_keypoint": keypoint_loss(logits, goals.cells, valid, divisor)}

    def make_targets(self, packed: PackedRoIs, samples: Samples, targets) -> KeypointTargets:
        """The cells of the matched ground-truth keypoints in the packed boxes."""
        return keypoint_targets(
            targets["keypoints"],
            packed.boxes,
            packed.batch_indices,
            pack_values(samples.gt_index, packed),
            4 * self.pooler.output_size,
        )

    def average(self, views: Sequence[Tensor], mirrored: Sequence[bool]) -> Tensor:
        """Mean logits of several views of the same boxes.

        Args:
            views: (B, D, M / 2, M / 2, J) each.
            mirrored: Which views are of the mirrored picture, where left and right keypoints have
                changed places: those of `flip_pairs`, without them those of the names.
        """
        pairs = self.config.flip_pairs or left_right_pairs(self.config.names or ())
        order = mirrored_order(self.config.num_keypoints, pairs)
        upright = [
            ops.take(ops.flip(view, axis=3), order, axis=4) if flip else view
            for view, flip in zip(views, mirrored)
        ]
        return ops.mean(ops.stack(upright), axis=0)

    def decode(self, logits: Tensor, detections: dict[str, Tensor]) -> dict[str, Tensor]:
        """{"keypoints": (B, D, J, 3) x, y, score, network frame, for runtimes that have nothing
        else; "keypoint_heatmaps": the logits, from which
        `kmrcnn.postprocess.keypoints` reads them as the references do}; 0 in unused slots.
        """
        valid = detections["valid"]
        packed = pack(detections["boxes"], valid, self.lowering.static)
        maps = double(pack_values(logits, packed))
        points = search_windows(maps, packed.boxes, self.config.score)
        return {"keypoints": unpack(points, packed, valid), "keypoint_heatmaps": logits}

    def decoded_spec(self, batch: int | None, number: int) -> dict[str, keras.KerasTensor]:
        """Shapes and types of what `decode` returns for `number` detections."""
        side, joints = 2 * self.pooler.output_size, self.config.num_keypoints
        maps = (batch, number, side, side, joints)
        return {
            "keypoints": keras.KerasTensor((batch, number, joints, 3), "float32"),
            "keypoint_heatmaps": keras.KerasTensor(maps, "float32"),
        }
