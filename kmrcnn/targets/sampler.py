"""Random balanced subsets of matched candidates."""

from __future__ import annotations

from typing import NamedTuple

import keras
from keras import ops

from kmrcnn.structures.typing import Tensor


class Sampled(NamedTuple):
    """Masks (B, A) bool of the drawn candidates."""

    foreground: Tensor
    background: Tensor


def sample(
    foreground: Tensor,
    background: Tensor,
    number: int,
    positive_fraction: float,
    seed_generator: keras.random.SeedGenerator | int | None = None,
) -> Sampled:
    """Draw up to `number` candidates per image: at most `positive_fraction` of them foreground, the
    rest background.

    Args:
        foreground: (B, A) bool.
        background: (B, A) bool.
        number: Candidates per image; fewer if there are not enough.
        positive_fraction: Upper bound of the foreground's share.
        seed_generator: Source of randomness.
    """
    chosen_foreground = _draw(foreground, int(number * positive_fraction), None, seed_generator)
    found = ops.sum(ops.cast(chosen_foreground, "int32"), axis=1, keepdims=True)  # (B, 1)
    return Sampled(chosen_foreground, _draw(background, number, number - found, seed_generator))


def _draw(mask: Tensor, most: int, allowed: Tensor | None, seed_generator) -> Tensor:
    """A random subset (B, A) of `mask` with at most `most`, and at most `allowed` (B, 1), members
    per row.
    """
    keys = ops.where(
        mask, keras.random.uniform(ops.shape(mask), minval=0.1, seed=seed_generator), 0.0
    )
    width = ops.shape(mask)[1]
    most = min(most, width) if isinstance(width, int) else ops.minimum(most, width)
    values, index = ops.top_k(keys, most)
    keep = values > 0
    if allowed is not None:
        keep = ops.logical_and(keep, ops.arange(most, dtype="int32") < allowed)
    rows = ops.arange(ops.shape(mask)[0], dtype="int32")[:, None] * width
    flat = ops.reshape(rows + ops.cast(index, "int32"), (-1, 1))
    drawn = ops.scatter(
        flat, ops.reshape(ops.cast(keep, "int32"), (-1,)), (ops.shape(mask)[0] * width,)
    )
    return ops.reshape(drawn, ops.shape(mask)) > 0
