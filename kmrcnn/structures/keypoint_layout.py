"""What the J keypoints of an object are called, and what belongs together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class KeypointLayout:
    """Comes from a model's configuration and goes with its detections.

    Attributes:
        names: One per keypoint, or None.
        skeleton: Pairs of indices between which lines are drawn.
        annotation_offset: px, from the numbers of COCO's files to coordinates, see
            `KeypointConfig`; files get the numbers.
        visible_score: Points that score less are not drawn.
    """

    names: tuple[str, ...] | None = None
    skeleton: tuple[tuple[int, int], ...] = ()
    annotation_offset: float = 0.5
    visible_score: float = 0.05

    @classmethod
    def of(cls, config: Any) -> KeypointLayout | None:
        """The layout of a `KeypointConfig`; None for None."""
        if config is None:
            return None
        return cls(config.names, config.skeleton, config.annotation_offset, config.visible_score)


def left_right_pairs(names: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of indices of names that differ in "left" and "right" only, as in "left_eye"."""
    places = {name: index for index, name in enumerate(names)}
    twins = {name: name.replace("left", "right") for name in names if "left" in name}
    return [(places[left], places[right]) for left, right in twins.items() if right in places]


def mirrored_order(number: int, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """(J,) index of the keypoint that stands in each one's place in a mirror."""
    order = np.arange(number)
    for one, other in pairs:
        order[one], order[other] = other, one
    return order
