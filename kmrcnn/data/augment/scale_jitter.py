"""Large-scale jitter (Ghiasi et al. 2021, "Simple Copy-Paste", section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kmrcnn.data.augment.crop import crop
from kmrcnn.data.augment.objects import with_moved_objects
from kmrcnn.data.augment.resize import resize
from kmrcnn.data.example import Example

FILL = 128  # gray, as in Detectron2's `FixedSizeCrop`


@dataclass(frozen=True)
class ScaleJitter:
    """Fits the picture into a scaled `size`, then cuts a window of `size` out of it where it is
    larger, and fills below and on the right where it is smaller.

    Args:
        size: (height, width) of the result.
        min_scale: Least scale; 1 fits the picture into `size`.
        max_scale: Largest scale.
    """

    size: tuple[int, int] = (1024, 1024)
    min_scale: float = 0.1
    max_scale: float = 2.0

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        limits = np.array(self.size) * rng.uniform(self.min_scale, self.max_scale)
        scale = (limits / example.size).min()
        target = np.maximum(1, np.floor(np.array(example.size) * scale + 0.5)).astype(int)
        resized = resize(example, (int(target[0]), int(target[1])))
        window = np.minimum(target, self.size)
        top, left = rng.integers(0, target - window + 1)
        cut = crop(resized, int(top), int(left), (int(window[0]), int(window[1])))
        return pad(cut, self.size, FILL)


def pad(example: Example, size: tuple[int, int], fill: int) -> Example:
    """The example on a canvas of (height, width) `size`, filled below and on the right.

    Raises:
        ValueError: The picture is larger than `size`.
    """
    height, width = example.size
    if height > size[0] or width > size[1]:
        raise ValueError(f"`size` must hold the image of size {example.size}. Received: {size}")
    image = np.full((*size, example.image.shape[2]), fill, np.uint8)
    image[:height, :width] = example.image
    return with_moved_objects(
        example, image, example.boxes, example.masks, example.keypoints, tight=False
    )
