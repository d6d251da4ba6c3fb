"""Mask branch: a small mask for every RoI and class (He et al. 2017, figure 4 right)."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import ops

from kmrcnn.config.schema import MaskConfig
from kmrcnn.layers.conv_norm_act import ConvNormAct, NormSpec
from kmrcnn.layers.deconv import Deconv2x2, interleave
from kmrcnn.losses.mask import mask_loss
from kmrcnn.roi.blocks import in_blocks
from kmrcnn.roi.packing import PackedRoIs, pack, pack_values, unpack
from kmrcnn.structures.lowering import NATIVE, Lowering
from kmrcnn.structures.typing import Tensor
from kmrcnn.targets.mask_targets import mask_targets
from kmrcnn.targets.roi_sampler import Samples


class MaskBranch(keras.layers.Layer):
    """Convolutions, a 2x2 deconvolution and a 1x1 predictor.

    The predictor comes after the deconvolution but works pixel by pixel, so it is applied for the
    wanted class only and before the pixels are put in place; the numbers are those of the usual
    order.

    Args:
        config: Layers and target rule.
        pooler: A `RoIPooler`.
        num_classes: K.
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
        num_classes: int,
        lowering: Lowering = NATIVE,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # boxes keep float32
        self.config = config
        self.pooler = pooler
        self.lowering = lowering
        norm = NormSpec(config.norm, config.norm_epsilon, config.norm_groups)
        self.convs = [
            ConvNormAct(config.channels, 3, norm=norm, name=f"conv{i}")
            for i in range(1, config.num_convs + 1)
        ]
        self.deconv = Deconv2x2(config.channels, name="deconv")
        self.logits = ConvNormAct(
            1 if config.class_agnostic else num_classes,
            1,
            relu=False,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.001),
            name="logits",
        )

    def build(self, features_shape, boxes_shape=None, classes_shape=None, valid_shape=None):
        if not self.pooler.built:
            self.pooler.build(features_shape)
        channels = self.pooler.channels
        for conv in self.convs:
            conv.build((None, None, None, channels))
            channels = conv.filters
        self.deconv.build((None, None, None, channels))
        self.logits.build((None, None, None, self.deconv.filters))

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
        """Logits (N, M, M) of the given classes (N,), or of all classes: (N, M, M, K)."""
        # (N, P, P, C)
        x = self.pooler(features, packed.boxes, packed.batch_indices, training=training)
        for conv in self.convs:
            x = conv(x, training=training)
        x = ops.relu(self.deconv.subpixels(x))  # (N, P, P, 2, 2, C)
        if classes is None:
            return interleave(ops.cast(self._all_classes(x), "float32"))
        return interleave(ops.cast(self._one_class(x, classes), "float32"))

    def _all_classes(self, x):
        kernel = ops.cast(self.logits.kernel[0, 0], x.dtype)  # (C, K)
        # On two axes: a broadcasting product damages the heap in TensorFlow 2.21 (issue 117700).
        values = ops.matmul(ops.reshape(x, (-1, x.shape[-1])), kernel)
        values = ops.reshape(values, (-1,) + tuple(x.shape[1:-1]) + (kernel.shape[1],))
        return values + ops.cast(self.logits.bias, x.dtype)

    def _one_class(self, x, classes):
        if self.config.class_agnostic:
            return self._all_classes(x)[..., 0]
        kernels = ops.take(ops.transpose(self.logits.kernel[0, 0]), classes, axis=0)  # (N, C)
        biases = ops.take(self.logits.bias, classes)  # (N,)
        pixels = ops.reshape(x, (-1, x.shape[1] * x.shape[2] * 4, x.shape[5]))  # (N, P * P * 4, C)
        values = ops.matmul(pixels, ops.cast(kernels, x.dtype)[..., None])[..., 0]
        values = values + ops.cast(biases, x.dtype)[:, None]
        return ops.reshape(values, (-1,) + tuple(x.shape[1:5]))

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
        logits = self.predict_packed(features, packed, classes, training)
        return {"loss_mask": mask_loss(logits, goals, foreground)}

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
