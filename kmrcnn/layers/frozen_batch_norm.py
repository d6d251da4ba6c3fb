"""Batch normalisation with fixed statistics and fixed affine terms, as detectors use it in the
backbone.
"""

import keras
from keras import ops

from kmrcnn.structures.typing import Tensor


class FrozenBatchNorm(keras.layers.Layer):
    """y = (x - moving_mean) * gamma / sqrt(moving_variance + epsilon) + beta; nothing trains.

    The affine form is exposed by `scale_and_shift`, so that a convolution can absorb it.

    Args:
        epsilon: Added to the variance. torchvision's COCO_V1 weights want 0.0.
    """

    def __init__(self, epsilon: float = 1e-5, **kwargs):
        super().__init__(**{**kwargs, "trainable": False})
        self.epsilon = epsilon

    def build(self, input_shape):
        shape = (input_shape[-1],)
        for name, start in (
            ("gamma", "ones"),
            ("beta", "zeros"),
            ("moving_mean", "zeros"),
            ("moving_variance", "ones"),
        ):
            weight = self.add_weight(name=name, shape=shape, initializer=start, trainable=False)
            setattr(self, name, weight)

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Vectors (C,): y = x * scale + shift."""
        scale = self.gamma * ops.rsqrt(self.moving_variance + self.epsilon)
        return scale, self.beta - self.moving_mean * scale

    def call(self, x):
        scale, shift = self.scale_and_shift()
        return x * scale + shift
