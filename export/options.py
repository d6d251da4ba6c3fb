"""What an export is asked for, checked."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ExportOptions:
    """Arguments of `kmrcnn.export.export`, which documents them; the same for every format."""

    precision: str = "float32"
    image_size: tuple[int, int] | None = None
    batch_size: int | None = None
    score_threshold: float | None = None
    nms_threshold: float | None = None
    max_detections: int | None = None
    paste_masks: bool = False
    custom_op: bool = False
    calibration_images: str | Path | Sequence[Any] | None = None
    version: int = 1

    def __post_init__(self):
        for name in ("batch_size", "max_detections", "version"):
            value = getattr(self, name)
            if value is not None and not (_is_whole(value) and value >= 1):
                raise ValueError(f"`{name}` must be a whole number from 1. Received: {value!r}")
        for name in ("score_threshold", "nms_threshold"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, numbers.Real) and 0 <= value <= 1):
                raise ValueError(f"`{name}` must be in [0, 1]. Received: {value!r}")
        if self.image_size is not None:
            _check_image_size(self.image_size)

    def detection_changes(self) -> dict[str, Any]:
        """What `lowered_model` is to change in the model's configuration."""
        names = ("score_threshold", "nms_threshold", "max_detections")
        return {name: getattr(self, name) for name in names}

    def replaced(self, **changes) -> ExportOptions:
        """A copy with other values."""
        return dataclasses.replace(self, **changes)


def _check_image_size(size) -> None:
    is_pair = isinstance(size, (tuple, list)) and len(size) == 2
    if not is_pair or not all(_is_whole(side) and side >= 1 for side in size):
        raise ValueError(f"`image_size` must be (height, width) in pixels. Received: {size!r}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
