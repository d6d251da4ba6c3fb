"""Box branch: what is in each RoI and where exactly (Girshick 2015; Lin et al. 2017)."""

from __future__ import annotations

import keras
from keras import ops

from kmrcnn.config.schema import BoxConfig
from kmrcnn.layers.conv_norm_act import ConvNormAct, NormSpec
from kmrcnn.losses.box import box_losses
from kmrcnn.losses.regression import regression_loss
from kmrcnn.postprocess.nms import NEVER, grouped_nms
from kmrcnn.roi.blocks import in_blocks
from kmrcnn.roi.packing import PackedRoIs, pack, unpack
from kmrcnn.structures import boxes as box_ops
from kmrcnn.structures.lowering import NATIVE, Lowering
from kmrcnn.structures.typing import Tensor
from kmrcnn.targets import box_coder
from kmrcnn.targets.roi_sampler import Samples


class BoxBranch(keras.layers.Layer):
    """Optional convolutions and fully connected layers, class logits and box deltas.

    Args:
        config: Layers, thresholds, sampling, losses.
        pooler: A `RoIPooler`.
        num_classes: K.
        lowering: Form of NMS; whether unused slots are computed too.

    Call arguments:
        features: {"P2": (B, h, w, C), ...}.
        boxes: (B, R, 4), xyxy, network frame.
        valid: (B, R) bool; other slots give 0, and are not computed where that saves time.

    Returns:
        {"class_logits": (B, R, K + 1), "box_deltas": (B, R, K or 1, 4)} float32.
    """

    def __init__(
        self,
        config: BoxConfig,
        pooler: keras.layers.Layer,
        num_classes: int,
        lowering: Lowering = NATIVE,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # boxes keep float32
        self.config = config
        self.pooler = pooler
        self.num_classes = num_classes
        self.lowering = lowering
        norm = NormSpec(config.norm, config.norm_epsilon, config.norm_groups)
        self.convs = [
            ConvNormAct(config.conv_channels, 3, norm=norm, name=f"conv{i}")
            for i in range(1, config.num_convs + 1)
        ]
        self.fcs = [
            keras.layers.Dense(config.fc_channels, activation="relu", name=f"fc{i}")
            for i in range(1, config.num_fcs + 1)
        ]
        self.sets = 1 if config.class_agnostic else num_classes
        normal = keras.initializers.RandomNormal
        self.class_logits = keras.layers.Dense(
            num_classes + 1, kernel_initializer=normal(stddev=0.01), name="class_logits"
        )
        self.box_deltas = keras.layers.Dense(
            self.sets * 4, kernel_initializer=normal(stddev=0.001), name="box_deltas"
        )
        # TensorFlow's combined NMS has no XLA kernel.
        self.supports_jit = keras.backend.backend() != "tensorflow"

    def build(self, features_shape, boxes_shape=None, valid_shape=None):
        if not self.pooler.built:
            self.pooler.build(features_shape)
        size, channels = self.pooler.output_size, self.pooler.channels
        for conv in self.convs:
            conv.build((None, size, size, channels))
            channels = conv.filters
        if self.config.reduce == "flatten":
            channels *= size * size
        for fc in self.fcs:
            fc.build((None, channels))
            channels = fc.units
        self.class_logits.build((None, channels))
        self.box_deltas.build((None, channels))

    def call(self, features, boxes, valid, training=None):
        packed = pack(boxes, valid, self.lowering.static)

        def predict(rois):
            return self.predict_packed(features, rois, training)

        shapes = {"class_logits": (self.num_classes + 1,), "box_deltas": (self.sets, 4)}
        side = self.pooler.output_size
        found = in_blocks(predict, packed, [], valid, shapes, self.lowering, side)
        return {name: unpack(found[name], packed, valid) for name in shapes}

    def predict_packed(self, features, packed: PackedRoIs, training=None) -> dict[str, Tensor]:
        """{"class_logits": (N, K + 1), "box_deltas": (N, K or 1, 4)} float32."""
        # (N, P, P, C)
        x = self.pooler(features, packed.boxes, packed.batch_indices, training=training)
        for conv in self.convs:
            x = conv(x, training=training)
        if self.config.reduce == "mean":
            x = ops.mean(x, axis=(1, 2))  # (N, C)
        else:
            x = ops.reshape(x, (-1, x.shape[1] * x.shape[2] * x.shape[3]))  # (N, P * P * C)
        for fc in self.fcs:
            x = fc(x)
        deltas = ops.reshape(self.box_deltas(x), (-1, self.sets, 4))
        return {
            "class_logits": ops.cast(self.class_logits(x), "float32"),
            "box_deltas": ops.cast(deltas, "float32"),
        }

    def make_targets(self, samples: Samples, targets: dict[str, Tensor]) -> Tensor:
        """Deltas (B, S, 4) from the sampled boxes to their ground truth; 0 where not foreground."""
        gt_boxes = ops.take_along_axis(targets["boxes"], samples.gt_index[..., None], axis=1)
        gt_boxes = ops.where(samples.foreground[..., None], gt_boxes, samples.boxes)
        goals = box_coder.encode(gt_boxes, samples.boxes, self.config.box_coder_weights)
        return ops.stop_gradient(ops.where(samples.foreground[..., None], goals, 0.0))

    def compute_losses(self, outputs, goals: Tensor, samples: Samples) -> dict[str, Tensor]:
        """{"loss_cls": scalar, "loss_box": scalar}."""
        return box_losses(
            outputs["class_logits"],
            outputs["box_deltas"],
            samples.classes,
            goals,
            samples.foreground,
            samples.valid,
            regression_loss(
                self.config.box_loss,
                self.config.smooth_l1_beta,
                samples.boxes,
                self.config.box_coder_weights,
            ),
        )

    def score_boxes(self, outputs, proposals, image_sizes) -> tuple[Tensor, Tensor]:
        """Refined boxes (B, R, K or 1, 4), clipped, and class scores (B, R, K), before any
        threshold.
        """
        references = proposals["boxes"][:, :, None, :]
        boxes = box_coder.decode(outputs["box_deltas"], references, self.config.box_coder_weights)
        scores = ops.softmax(outputs["class_logits"], axis=-1)[..., :-1]
        usable = ops.logical_and(proposals["valid"][..., None], ops.isfinite(scores))
        if self.config.classes_per_roi == "best":
            best = ops.argmax(outputs["class_logits"], axis=-1)[..., None]  # K: the background
            classes = ops.arange(self.num_classes, dtype=best.dtype)
            usable = ops.logical_and(usable, classes == best)
        return box_ops.clip(boxes, image_sizes), ops.where(usable, scores, NEVER)

    def decode(self, outputs, proposals, image_sizes) -> dict[str, Tensor]:
        """Detections: {"boxes": (B, D, 4) network frame, "scores", "classes", "valid"}, best
        first.
        """
        boxes, scores = self.score_boxes(outputs, proposals, image_sizes)
        big_enough = box_ops.sides_at_least(boxes, self.config.min_size)  # (B, R, K or 1)
        kept = grouped_nms(
            boxes,
            ops.where(big_enough, scores, NEVER),
            self.config.nms_threshold,
            self.config.max_detections,
            self.config.score_threshold,
            self.lowering.max_candidates,
            self.lowering.nms,
        )
        return {
            "boxes": kept.boxes,
            "scores": kept.scores,
            "classes": kept.groups,
            "valid": kept.valid,
        }

    def decoded_spec(self, batch: int | None) -> dict[str, keras.KerasTensor]:
        """Shapes and types of what `decode` returns."""
        number = self.config.max_detections
        return {
            "boxes": keras.KerasTensor((batch, number, 4), "float32"),
            "scores": keras.KerasTensor((batch, number), "float32"),
            "classes": keras.KerasTensor((batch, number), "int32"),
            "valid": keras.KerasTensor((batch, number), "bool"),
        }
