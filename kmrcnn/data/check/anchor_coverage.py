"""Box sizes against a model's anchors: how many of the objects does some anchor fit?

Training takes anchors that overlap an object by an IoU of at least 0.7 as positive, and the best
anchor of every object however little it overlaps; an object that no anchor fits has that one only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kmrcnn.config.schema import AnchorConfig, InputConfig, ModelConfig
from kmrcnn.data.check.anchor_fit import best_ious
from kmrcnn.data.check.boxes import box_fault, clip_box
from kmrcnn.data.check.statistics import SIZE_LIMITS, size_names
from kmrcnn.data.preprocess import canvas_size, network_size
from kmrcnn.data.records import Instance, Problem, Record

THRESHOLDS = (0.5, 0.7)  # IoU
LOW_SHARE = 0.75  # of the objects that an anchor matches at the lower threshold
_WORTHWHILE = 0.05  # gain in that share for which other anchors are suggested
_FACTORS = (0.125, 0.25, 0.5, 0.7, 1.0, 1.4, 2.0, 4.0)  # of the anchors' sizes
_WIDE_RATIOS = (0.25, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Share:
    """Of how many objects which part is matched at each of `THRESHOLDS`."""

    number: int
    matched: tuple[float, ...]


@dataclass(frozen=True)
class AnchorCoverage:
    """How well anchors fit the objects.

    Attributes:
        total: Over all objects that are no crowds.
        by_class: By name of the class.
        by_size: By COCO's names for sizes in the picture's own pixels.
        network_sides: 5, 50 and 95 % quantiles of the square root of the boxes' areas, px, network
            frame.
        suggestion: A setting with which more objects are matched, or None.
    """

    total: Share
    by_class: dict[str, Share]
    by_size: dict[str, Share]
    network_sides: tuple[float, ...]
    suggestion: str | None


@dataclass(frozen=True)
class _Boxes:
    """N boxes of many pictures."""

    network: np.ndarray  # (N, 4) float64, xyxy, network frame
    canvas: np.ndarray  # (N, 2) int64, height and width of the padded picture
    areas: np.ndarray  # (N,) float64, square pixels of the original picture
    classes: np.ndarray  # (N,) int64


def measure_coverage(
    records: Sequence[Record],
    sizes: Sequence[tuple[int, int] | None],
    class_names: Sequence[str],
    config: ModelConfig,
) -> AnchorCoverage | None:
    """Matches all objects with all anchors.

    Args:
        records: Pictures.
        sizes: (height, width) of each; those without are left out.
        class_names: Names of the classes.
        config: Resizing and anchors of a model.

    Returns:
        The shares; None if there is no object.
    """
    boxes = _gather(records, sizes, config.input)
    if boxes is None:
        return None
    ious = best_ious(boxes.network, boxes.canvas, config.anchors)
    names = np.array(size_names(boxes.areas))
    sides = np.sqrt(np.prod(boxes.network[:, 2:] - boxes.network[:, :2], axis=1))
    return AnchorCoverage(
        total=_share(ious),
        by_class={
            name: _share(ious[boxes.classes == index])
            for index, name in enumerate(class_names)
            if (boxes.classes == index).any()
        },
        by_size={name: _share(ious[names == name]) for name in SIZE_LIMITS if name in names},
        network_sides=tuple(float(side) for side in np.percentile(sides, (5, 50, 95))),
        suggestion=_suggest(boxes, config.anchors, ious),
    )


def check_coverage(coverage: AnchorCoverage) -> list[Problem]:
    """A note if few objects are matched."""
    share = coverage.total.matched[0]
    if share >= LOW_SHARE:
        return []
    message = (
        f"{share:.0%} of {coverage.total.number} objects overlap an anchor by IoU >= "
        f"{THRESHOLDS[0]}"
    )
    if coverage.suggestion is not None:
        message += f"; {coverage.suggestion}"
    return [Problem("low-anchor-match", message)]


def _gather(
    records: Sequence[Record], sizes: Sequence[tuple[int, int] | None], config: InputConfig
) -> _Boxes | None:
    network, canvas, areas, classes = [], [], [], []
    for record, size in zip(records, sizes):
        boxes, indices = _sound_boxes(record, size)
        if len(boxes) == 0:
            continue
        try:
            target = network_size(size, config)
        except ValueError:  # too elongated: the model cannot take it either
            continue
        height, width = (after / before for after, before in zip(target, size))
        network.append(boxes * [width, height, width, height])
        canvas.append(np.tile(canvas_size(target, config.pad_multiple), (len(boxes), 1)))
        areas.append(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
        classes.append(indices)
    if not network:
        return None
    return _Boxes(*(np.concatenate(parts) for parts in (network, canvas, areas, classes)))


def _sound_boxes(record: Record, size: tuple[int, int] | None) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (n, 4) clipped to the picture and classes (n,), without crowds."""
    kept = [one for one in record.instances if size is not None and _is_sound(one, size)]
    boxes = np.array([clip_box(one.box, size) for one in kept], np.float64).reshape(-1, 4)
    return boxes, np.array([one.class_index for one in kept], np.int64)


def _is_sound(instance: Instance, size: tuple[int, int]) -> bool:
    fault = box_fault(instance.box, size)
    return not instance.is_crowd and (fault is None or fault.kind == "box-beyond-image")


def _share(ious: np.ndarray) -> Share:
    return Share(len(ious), tuple(float((ious >= limit).mean()) for limit in THRESHOLDS))


def _suggest(boxes: _Boxes, config: AnchorConfig, ious: np.ndarray) -> str | None:
    """Tries other sizes and ratios; names the simplest setting that comes near the best one."""
    limit = THRESHOLDS[0]
    current = (ious >= limit).mean()
    if current >= LOW_SHARE:
        return None
    candidates = []
    for ratios in (config.aspect_ratios, _WIDE_RATIOS):
        for factor in sorted(_FACTORS, key=lambda factor: abs(np.log(factor))):
            sizes = tuple(tuple(size * factor for size in level) for level in config.sizes)
            changed = dataclasses.replace(config, sizes=sizes, aspect_ratios=ratios)
            share = (best_ious(boxes.network, boxes.canvas, changed) >= limit).mean()
            candidates.append((share, changed))
    highest = max(share for share, _ in candidates)
    share, changed = next(one for one in candidates if one[0] >= highest - _WORTHWHILE / 2)
    if share < current + _WORTHWHILE:
        return None
    return f"{share:.0%} with {_settings(changed, config)}"


def _settings(changed: AnchorConfig, config: AnchorConfig) -> str:
    settings = []
    if changed.sizes != config.sizes:
        sizes = [[float(f"{size:.4g}") for size in level] for level in changed.sizes]
        settings.append(f"--set model.anchors.sizes={sizes}".replace(", ", ","))
    if changed.aspect_ratios != config.aspect_ratios:
        ratios = str(list(changed.aspect_ratios)).replace(", ", ",")
        settings.append(
            f"--set model.anchors.aspect_ratios={ratios} (another number of anchors: "
            "pretrained RPN predictors do not fit)"
        )
    return " ".join(settings)
