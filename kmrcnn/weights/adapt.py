"""Weights of one set of classes or input channels for a model of another: pure NumPy.

Three layers have outputs per class: class logits (K + 1, the background last), box deltas (4 K) and
mask logits (K, or K + 1 where they compete), all on the last axis. One layer sees the image's
channels: the stem.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kmrcnn.config.schema import ModelConfig

STEM_KERNEL = "backbone/stem/kernel"
_CLASS_LOGITS = "roi_heads/box/class_logits/"
_BOX_DELTAS = "roi_heads/box/box_deltas/"
_MASK_LOGITS = "roi_heads/mask/logits/"


@dataclass(frozen=True)
class ClassAxis:
    """The last axis of a layer with outputs per class: classes x group outputs, then background."""

    group: int  # outputs per class
    background: bool  # one more group for the background, last

    def size(self, num_classes: int) -> int:
        """Length of the axis."""
        return self.group * (num_classes + self.background)


def class_axis(name: str, config: ModelConfig) -> ClassAxis | None:
    """How the last axis of a weight depends on the classes; None if it does not.

    Args:
        name: Our name of the weight.
        config: Says which branches are class-agnostic.
    """
    if name.startswith(_CLASS_LOGITS):
        return ClassAxis(1, background=True)
    if name.startswith(_BOX_DELTAS) and not config.box.class_agnostic:
        return ClassAxis(4, background=False)
    if name.startswith(_MASK_LOGITS):
        return _mask_class_axis(config)
    return None


def _mask_class_axis(config: ModelConfig) -> ClassAxis | None:
    mask = config.mask
    if mask is None:
        return ClassAxis(1, background=False)
    if mask.class_agnostic:
        return None
    pixels = 1
    if mask.head == "mlp":  # all pixels of a class, then those of the next
        side = mask.pooled_size if config.pooler.stage == "none" else -(-mask.pooled_size // 2)
        pixels = (2 * side) ** 2
    return ClassAxis(pixels, background=mask.activation == "softmax")


def with_classes(
    shapes: Mapping[str, tuple[int, ...]], num_classes: int, config: ModelConfig
) -> dict[str, tuple[int, ...]]:
    """The shapes of a model's weights if it had `num_classes` classes."""
    return {
        name: (*shape[:-1], axis.size(num_classes))
        if (axis := class_axis(name, config))
        else tuple(shape)
        for name, shape in shapes.items()
    }


def shared_classes(source: Sequence[str], target: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs (index in `source`, index in `target`) of the names that occur once in both.

    A name that occurs more often, such as the "N/A" of unused COCO numbers, is nobody's name.
    """
    counts = Counter(source), Counter(target)
    return [
        (source.index(name), j)
        for j, name in enumerate(target)
        if counts[0][name] == counts[1][name] == 1
    ]


def transfer_classes(
    array: np.ndarray, fresh: np.ndarray, pairs: Sequence[tuple[int, int]], axis: ClassAxis
) -> np.ndarray:
    """A copy of `fresh` in which the shared classes and the background come from `array`.

    Args:
        array: (..., axis.size(number of source classes)), trained.
        fresh: (..., axis.size(number of target classes)), as the model was initialised.
        pairs: (source class, target class), from `shared_classes`.
        axis: Meaning of the last axis.

    Returns:
        (..., axis.size(number of target classes)), of `fresh`'s type.
    """
    old = array.reshape(*array.shape[:-1], -1, axis.group)
    new = fresh.copy().reshape(*fresh.shape[:-1], -1, axis.group)
    if pairs:
        sources, targets = map(list, zip(*pairs))
        new[..., targets, :] = old[..., sources, :]
    if axis.background:
        new[..., -1, :] = old[..., -1, :]
    return new.reshape(fresh.shape)


def adapt_stem(kernel: np.ndarray, channels: int) -> tuple[np.ndarray, str]:
    """The stem's kernel for an image of `channels` channels, from one for three.

    One channel: the sum over the three, what the trained kernel makes of a grey image repeated
    three times ("sum"). More (or two): the three repeated cyclically and scaled by 3 / channels,
    so that activations keep their size on an image whose channels are alike ("inflate").

    Args:
        kernel: (kh, kw, 3, out).
        channels: Of the model's images.

    Returns:
        (kh, kw, channels, out), and the name of what was done.
    """
    if kernel.shape[2] != 3:
        raise ValueError(
            f"A stem can be adapted from 3 input channels only. Received: {kernel.shape[2]}, for "
            f"a model of {channels}."
        )
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True), "sum"
    repeated = kernel[:, :, np.arange(channels) % 3, :]
    return repeated * np.float32(3 / channels), "inflate"


def adapt_statistics(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """Mean or standard deviation of an input's channels to go with `adapt_stem`.

    One channel: their average; more: repeated cyclically.
    """
    if channels == 1:
        return (float(sum(values) / len(values)),)
    return tuple(float(values[c % len(values)]) for c in range(channels))
