"""The spine: image -> backbone -> neck -> proposals -> RoI features -> heads -> detections."""

from __future__ import annotations

import keras
from keras import ops

from kmrcnn.config.schema import ModelConfig
from kmrcnn.layers.normalize_images import NormalizeImages
from kmrcnn.layers.placement import CentrePlacement, CornerPlacement
from kmrcnn.structures.typing import Tensor

BASE_LOSSES = ("loss_rpn_cls", "loss_rpn_box", "loss_cls", "loss_box")  # branches: loss_<name>


@keras.saving.register_keras_serializable("kmrcnn")
class GeneralizedRCNN(keras.Model):
    """Two-stage detector (He et al. 2017) as a Keras Functional model; its parts are handed in.

    Args:
        config: What the parts were made from; stored in saved files.
        backbone: images -> {"C2": ..., "C5": ...}.
        neck: backbone features -> {"P2": ..., "P6": ...}.
        rpn: (features, images, image_sizes) -> proposals.
        roi_heads: (features, proposals, image_sizes) -> detections.
        placement: Where the network sees pictures on the canvas; None: in the corner.

    Attributes:
        loss_weights: {"loss_mask": 2.0, ...}: factors of the losses in what `fit` minimises; 1 for
            those not named.

    Call arguments:
        inputs: {"images": (B, H, W, C), 0-255, zero padded below and on the right, "image_sizes":
            (B, 2) int32}, and for training "targets": {"boxes": (B, N, 4), "classes": (B, N),
            "valid": (B, N), "masks": (B, N, S, S), "mask_windows": (B, N, 4)}; masks are crops of
            the windows.

    Returns:
        Without targets, detections in the network frame, padded to D slots: {"boxes": (B, D, 4)
        xyxy, "scores": (B, D), "classes": (B, D), "valid": (B, D), "masks": (B, D, M, M)
        probabilities}. With targets, the losses by name: the presence of targets decides, not
        `training`, so that validation has losses too.
    """

    def __init__(
        self,
        config: ModelConfig,
        backbone: keras.layers.Layer,
        neck: keras.layers.Layer,
        rpn: keras.layers.Layer,
        roi_heads: keras.layers.Layer,
        placement: CornerPlacement | CentrePlacement | None = None,
        **kwargs,
    ):
        images = keras.Input((None, None, config.input.channels), name="images")
        image_sizes = keras.Input((2,), dtype="int32", name="image_sizes")
        normalize = NormalizeImages(config.input.mean, config.input.std, name="normalize")

        placement = placement or CornerPlacement()

        placed = placement(images, image_sizes)
        features = neck(backbone(normalize(placed.images, placed.content)))
        proposals = rpn(features, placed.images, placed.proposal_limits)
        detections = roi_heads(features, proposals, placed.detection_limits)
        detections = placement.leave(detections, placed)

        inputs = {"images": images, "image_sizes": image_sizes}
        super().__init__(inputs=inputs, outputs=detections, **kwargs)
        self.config = config
        self.placement = placement
        self.normalize = normalize
        self.backbone = backbone
        self.neck = neck
        self.rpn = rpn
        self.roi_heads = roi_heads
        self.loss_weights = {}
        names = (*BASE_LOSSES, *(f"loss_{branch}" for branch in roi_heads.branches))
        self.loss_trackers = {name: keras.metrics.Mean(name=name) for name in names}

    def call(self, inputs, training=None, mask=None):
        if "targets" in inputs:
            return self.compute_losses(inputs, training)
        return super().call(inputs, training=training, mask=mask)

    def compute_losses(self, inputs: dict, training: bool | None = None) -> dict[str, Tensor]:
        """All losses by name, scalars: `loss_rpn_cls`, `loss_rpn_box`, `loss_cls`, `loss_box`,
        `loss_mask`.
        """
        placed = self.placement(inputs["images"], inputs["image_sizes"])
        # Keras cannot spread booleans over the replicas of a strategy: they may come as numbers.
        valid = ops.cast(inputs["targets"]["valid"], "bool")
        targets = self.placement.enter({**inputs["targets"], "valid": valid}, placed)
        features = self.normalize(placed.images, placed.content)
        features = self.neck(self.backbone(features, training=training), training=training)
        logits, deltas = self.rpn.predict_boxes(features)
        anchors = self.rpn.make_anchors(features, placed.images)
        losses = self.rpn.compute_losses(logits, deltas, anchors, targets)
        proposals = self.rpn.propose(logits, deltas, anchors, placed.proposal_limits, training=True)
        return losses | self.roi_heads.compute_losses(features, proposals, targets, training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The weighted sum of the losses, divided by the number of replicas.

        Each loss is tracked under its name, unweighted, for the logs of `fit` and `evaluate`. The
        division is there because Keras adds the gradients of all replicas: with it they are
        averaged, and a batch spread over replicas gives the step of one device.
        """
        total = 0.0
        for name, value in y_pred.items():
            value = ops.cast(value, "float32")
            self.loss_trackers[name].update_state(value)
            total = total + self.loss_weights.get(name, 1.0) * value
        return total / _number_of_replicas()

    @property
    def metrics(self):
        return super().metrics + list(self.loss_trackers.values())

    def get_config(self):
        return {"config": self.config.to_dict(), "name": self.name}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        from kmrcnn.config.loader import from_dict
        from kmrcnn.models.build import build_model

        return build_model(from_dict(ModelConfig, config["config"]), name=config["name"])


def _number_of_replicas() -> int:
    """Devices that share a training step."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync
