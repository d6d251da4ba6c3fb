"""Region proposal network (Ren et al. 2015): which boxes are worth a second look."""

from __future__ import annotations

import keras
from keras import ops

from kmrcnn.config.schema import AnchorConfig, RPNConfig
from kmrcnn.layers.conv_norm_act import ConvNormAct
from kmrcnn.losses.regression import regression_loss
from kmrcnn.losses.rpn import rpn_losses
from kmrcnn.postprocess.nms import NEVER, grouped_nms
from kmrcnn.rpn.anchors import AnchorGenerator
from kmrcnn.structures import boxes as box_ops
from kmrcnn.structures.lowering import NATIVE, Lowering
from kmrcnn.structures.rows import take_rows
from kmrcnn.structures.typing import Tensor
from kmrcnn.targets import box_coder
from kmrcnn.targets.matcher import match
from kmrcnn.targets.sampler import sample


class RegionProposalNetwork(keras.layers.Layer):
    """A small convolutional head over all levels, and the best of its boxes.

    Args:
        config: Depth, numbers of boxes, thresholds, sampling, losses.
        anchors: Sizes and shapes of the anchors.
        feature_info: {"P2": (channels, stride), ...}: the levels to look at.
        seed: Seeds the sampling of anchors in training.
        lowering: Form of NMS.

    Call arguments:
        features: {"P2": (B, h, w, C), ...}.
        images: (B, H, W, C): only their height and width are used.
        image_sizes: (B, 2) int32.
        training: Picks the numbers of boxes kept, nothing else.

    Returns:
        Proposals in the network frame, best first, R = `post_nms_top_n`: {"boxes": (B, R, 4),
        "scores": (B, R) objectness logits (or their sigmoid), "levels": (B, R) index of the
        anchor's level (0 where all levels are ranked together), "valid": (B, R) bool}.
    """

    def __init__(
        self,
        config: RPNConfig,
        anchors: AnchorConfig,
        feature_info: dict[str, tuple[int, int]],
        seed: int | None = None,
        lowering: Lowering = NATIVE,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.config = config
        self.lowering = lowering
        self.level_names = list(feature_info)
        self.in_channels = next(iter(feature_info.values()))[0]
        self.anchor_generator = AnchorGenerator(anchors, tuple(s for _, s in feature_info.values()))
        channels = config.channels or self.in_channels
        start = keras.initializers.RandomNormal(stddev=0.01)
        self.convs = [
            ConvNormAct(channels, 3, kernel_initializer=start, name=f"conv{i}")
            for i in range(1, config.num_convs + 1)
        ]
        number = self.anchor_generator.num_anchors
        predictor = {"kernel_size": 1, "relu": False, "kernel_initializer": start}
        self.objectness = ConvNormAct(number, name="objectness", **predictor)
        self.deltas = ConvNormAct(number * 4, name="deltas", **predictor)
        self.seed_generator = keras.random.SeedGenerator(seed)
        # TensorFlow's combined NMS has no XLA kernel.
        self.supports_jit = keras.backend.backend() != "tensorflow"

    def build(self, features_shape, images_shape=None, image_sizes_shape=None):
        channels = self.in_channels
        for conv in self.convs:
            conv.build((None, None, None, channels))
            channels = conv.filters
        self.objectness.build((None, None, None, channels))
        self.deltas.build((None, None, None, channels))

    def call(self, features, images, image_sizes, training=False):
        logits, deltas = self.predict_boxes(features)
        anchors = self.make_anchors(features, images)
        return self.propose(logits, deltas, anchors, image_sizes, training)

    def compute_output_spec(self, features, images, image_sizes, training=False):
        batch, number = images.shape[0], self.config.post_nms_top_n
        return {
            "boxes": keras.KerasTensor((batch, number, 4), "float32"),
            "scores": keras.KerasTensor((batch, number), "float32"),
            "levels": keras.KerasTensor((batch, number), "int32"),
            "valid": keras.KerasTensor((batch, number), "bool"),
        }

    def predict_boxes(self, features: dict) -> tuple[list[Tensor], list[Tensor]]:
        """Per level: objectness logits (B, h * w * A) and deltas (B, h * w * A, 4), float32."""
        logits, deltas = [], []
        for name in self.level_names:
            x = features[name]
            for conv in self.convs:
                x = conv(x)
            batch, height, width = ops.shape(x)[:3]
            shape = (batch, height * width * self.anchor_generator.num_anchors)
            logits.append(ops.cast(ops.reshape(self.objectness(x), shape), "float32"))
            deltas.append(ops.cast(ops.reshape(self.deltas(x), (*shape, 4)), "float32"))
        return logits, deltas

    def make_anchors(self, features: dict, images: Tensor) -> list[Tensor]:
        """Per level: anchors (h * w * A, 4)."""
        sizes = [tuple(ops.shape(features[name])[1:3]) for name in self.level_names]
        return self.anchor_generator(tuple(ops.shape(images)[1:3]), sizes)

    def propose(self, logits, deltas, anchors, image_sizes, training=False) -> dict[str, Tensor]:
        """Decode, clip, rank, suppress (the whole second half of the call)."""
        config = self.config
        per_level = config.pre_nms_top_n_train if training else config.pre_nms_top_n
        in_total = config.post_nms_top_n_train if training else config.post_nms_top_n
        if config.rank_within == "image":  # all levels are one
            logits, deltas = [ops.concatenate(logits, axis=1)], [ops.concatenate(deltas, axis=1)]
            anchors = [ops.concatenate(anchors, axis=0)]
        boxes, scores = [], []
        for level_logits, level_deltas, level_anchors in zip(logits, deltas, anchors):
            best, index = _top(level_logits, per_level)
            chosen = take_rows(level_deltas, index)  # (B, k, 4)
            references = ops.take(level_anchors, index, axis=0)  # (B, k, 4)
            decoded = box_coder.decode(chosen, references, config.box_coder_weights)
            boxes.append(_pad_to(decoded, per_level, 0.0))
            scores.append(_pad_to(best, per_level, NEVER))
        boxes = ops.stop_gradient(ops.stack(boxes, axis=2))  # (B, k, L, 4)
        boxes = box_ops.clip(boxes, image_sizes)
        scores = ops.stop_gradient(ops.stack(scores, axis=2))  # (B, k, L)
        used = ops.logical_and(scores > NEVER / 2, box_ops.sides_at_least(boxes, config.min_size))
        used = ops.logical_and(used, box_ops.area(boxes) > 0)
        if config.rank_by == "sigmoid":
            scores = ops.sigmoid(scores)
        kept = grouped_nms(
            boxes,
            ops.where(used, scores, NEVER),
            config.nms_threshold,
            in_total,
            max_candidates=10**5,
            form=self.lowering.nms,
        )
        return {
            "boxes": kept.boxes,
            "scores": kept.scores,
            "levels": kept.groups,
            "valid": kept.valid,
        }

    def compute_losses(self, logits, deltas, anchors, targets, draw=None) -> dict[str, Tensor]:
        """Match anchors to ground truth, draw a sample, score it.

        Args:
            logits: Of `predict_boxes`.
            deltas: Of `predict_boxes`.
            anchors: Of `make_anchors`.
            targets: {"boxes": (B, N, 4), "valid": (B, N), ...}, network frame.
            draw: The sampling function, `targets.sampler.sample` unless a test injects another.
        """
        config = self.config
        logits, deltas = ops.concatenate(logits, axis=1), ops.concatenate(deltas, axis=1)
        anchors = ops.concatenate(anchors, axis=0)[None]  # (1, A, 4)
        # A box without area has no logarithm, and would be "best" overlapped, by 0, by all anchors.
        real = ops.logical_and(targets["valid"], box_ops.area(targets["boxes"]) > 0)
        matches = match(
            box_ops.pairwise_iou(targets["boxes"], anchors),  # (B, N, A)
            real,
            foreground_iou=config.foreground_iou,
            background_iou=config.background_iou,
            force_best=True,
        )
        sampled = (draw or sample)(
            matches.foreground,
            matches.background,
            config.samples_per_image,
            config.positive_fraction,
            self.seed_generator,
        )
        gt_boxes = ops.take_along_axis(targets["boxes"], matches.index[..., None], axis=1)
        # No log(0) in unused rows.
        gt_boxes = ops.where(matches.foreground[..., None], gt_boxes, anchors)
        goals = ops.stop_gradient(box_coder.encode(gt_boxes, anchors, config.box_coder_weights))
        return rpn_losses(
            logits,
            deltas,
            goals,
            sampled.foreground,
            sampled.background,
            regression_loss(
                config.box_loss, config.smooth_l1_beta, anchors, config.box_coder_weights
            ),
            samples_per_image=config.samples_per_image
            if config.loss_divisor == "samples_per_image"
            else None,
        )


def _top(values: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """The best `number` of (B, n), or all if there are fewer: values and indices (B, k)."""
    available = values.shape[1]
    if available is None:
        return ops.top_k(values, ops.minimum(number, ops.shape(values)[1]))
    return ops.top_k(values, min(number, available))


def _pad_to(values: Tensor, number: int, fill: float) -> Tensor:
    """(B, number, ...) from (B, k, ...), k <= number."""
    missing = number - ops.shape(values)[1]
    padding = [(0, 0), (0, missing)] + [(0, 0)] * (len(values.shape) - 2)
    padded = ops.pad(values, padding, constant_values=fill)
    return ops.reshape(padded, (-1, number) + tuple(values.shape[2:]))
