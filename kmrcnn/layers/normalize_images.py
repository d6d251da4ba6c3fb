"""Pixels to network input."""

import keras
from keras import ops


class NormalizeImages(keras.layers.Layer):
    """(x - mean) / std inside each image, 0 in its padding.

    Every reference system pads after normalising; padding comes in here as zeros before, hence the
    mask.

    Args:
        mean: Per channel, on the 0-255 scale.
        std: The same.

    Call arguments:
        images: (B, H, W, C), 0-255, zero padded below and on the right, any dtype.
        image_sizes: (B, 2) int, (height, width) of the content.

    Returns:
        (B, H, W, C) in the compute dtype.
    """

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], **kwargs):
        super().__init__(autocast=False, **kwargs)  # pixels keep float32
        self.mean = tuple(mean)
        self.std = tuple(std)

    def call(self, images, image_sizes):
        mean = ops.convert_to_tensor(self.mean, "float32")
        std = ops.convert_to_tensor(self.std, "float32")
        x = (ops.cast(images, "float32") - mean) / std
        sizes = ops.expand_dims(ops.cast(image_sizes, "int32"), -1)  # (B, 2, 1)
        rows = ops.arange(ops.shape(images)[1], dtype="int32") < sizes[:, 0]  # (B, H)
        columns = ops.arange(ops.shape(images)[2], dtype="int32") < sizes[:, 1]  # (B, W)
        inside = ops.logical_and(rows[:, :, None], columns[:, None, :])[..., None]  # (B, H, W, 1)
        return ops.cast(ops.where(inside, x, 0.0), self.compute_dtype)

    def compute_output_shape(self, images_shape, image_sizes_shape=None):
        return images_shape
