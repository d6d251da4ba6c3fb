"""The model as a TensorFlow module: one output contract for every format."""

from __future__ import annotations

import tensorflow as tf

from kmrcnn.models.generalized_rcnn import GeneralizedRCNN

OUTPUTS = ("boxes", "scores", "classes", "num_detections", "masks", "keypoints")


class ServingModule(tf.Module):
    """Pictures in the network frame to detections of a fixed number of slots.

    The only state it tracks are the plain variables below Keras's. Of a Keras model inside a
    `tf.Module` a SavedModel gets every variable twice, of which loaders without Python fill one,
    and LiteRT's converter gets unset ones (keras issues 19274, 20095).

    Args:
        model: A model of `lowered_model`.
    """

    def __init__(self, model: GeneralizedRCNN):
        super().__init__()
        self.config = model.config
        self.plain_variables = [weight.value for weight in model.weights]
        self._call = lambda inputs: model(inputs, training=False)  # a closure is not tracked

    def detect(self, images: tf.Tensor, image_sizes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Detections, best first; unused slots are 0.

        Args:
            images: (B, H, W, C), 0-255, RGB where C = 3, resized, zero padded below and on the
                right.
            image_sizes: (B, 2) int32, (height, width) of the content.

        Returns:
            {"boxes": (B, D, 4) float32 xyxy in pixels of `images`, "scores": (B, D) float32,
            "classes": (B, D) int32 in 0..K-1, "num_detections": (B,) int32, and where the model has
            them "masks": (B, D, M, M) float32 probabilities in the frame of each box, "keypoints":
            (B, D, J, 3) float32 x, y, score in pixels of `images`}.
        """
        images = tf.cast(images, tf.float32)
        if self.config.input.channel_order == "bgr":
            images = tf.reverse(images, axis=[-1])
        found = dict(self._call({"images": images, "image_sizes": image_sizes}))
        found.pop("keypoint_heatmaps", None)  # large, and the keypoints are made of them
        valid = tf.cast(found.pop("valid"), tf.float32)  # TensorRT 8 cannot add up integers
        number = tf.cast(tf.reduce_sum(valid, axis=1), tf.int32)
        return found | {"num_detections": number}
