"""What the J keypoints of an object are called, and what belongs together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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
