"""What a dataset consists of: objects per class and per picture, and how large they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kmrcnn.data.check.boxes import box_fault
from kmrcnn.data.records import Problem, Record

SIZE_LIMITS = {"small": 32.0**2, "medium": 96.0**2, "large": float("inf")}  # COCO's, square pixels
QUANTILES = (0, 5, 25, 50, 75, 95, 100)


@dataclass(frozen=True)
class Statistics:
    """Counts of a dataset; crowds count, objects with a bad box do not.

    Attributes:
        num_images: Pictures.
        num_instances: Objects.
        num_crowds: Those of them that stand for many.
        num_masks: Those with a mask.
        instances_of_class: By name of the class.
        images_of_class: Pictures with at least one.
        instances_of_size: By COCO's names, areas of the boxes in the picture's own pixels.
        instances_per_image: `QUANTILES` over the pictures.
        box_sides: `QUANTILES` of the square root of the boxes' areas, px; zeros without objects.
        most_instances: Largest number in one picture, crowds left out.
    """

    num_images: int
    num_instances: int
    num_crowds: int
    num_masks: int
    instances_of_class: dict[str, int]
    images_of_class: dict[str, int]
    instances_of_size: dict[str, int]
    instances_per_image: tuple[float, ...]
    box_sides: tuple[float, ...]
    most_instances: int


def count(records: Sequence[Record], class_names: Sequence[str]) -> Statistics:
    """Counts what the pictures hold."""
    instances = [one for record in records for one in record.instances]
    per_class = Counter(one.class_index for one in instances)
    images_per_class = Counter(
        index for record in records for index in {one.class_index for one in record.instances}
    )
    areas = np.array([_area(one.box) for one in instances if box_fault(one.box, None) is None])
    most = (sum(not one.is_crowd for one in record.instances) for record in records)
    return Statistics(
        num_images=len(records),
        num_instances=len(instances),
        num_crowds=sum(one.is_crowd for one in instances),
        num_masks=sum(one.segmentation is not None for one in instances),
        instances_of_class={name: per_class[i] for i, name in enumerate(class_names)},
        images_of_class={name: images_per_class[i] for i, name in enumerate(class_names)},
        instances_of_size=_in_order(Counter(size_names(areas))),
        instances_per_image=_quantiles([len(record.instances) for record in records]),
        box_sides=_quantiles(np.sqrt(areas)),
        most_instances=max(most, default=0),
    )


def check_contents(records: Sequence[Record], statistics: Statistics) -> list[Problem]:
    """Notes the pictures without objects and the classes without instances."""
    notes = [
        Problem("image-without-objects", "no object is annotated", record.image_id)
        for record in records
        if not record.instances
    ]
    return notes + [
        Problem("class-without-instances", f"no object is a {name!r}")
        for name, number in statistics.instances_of_class.items()
        if number == 0
    ]


def size_names(areas: np.ndarray) -> list[str]:
    """COCO's name of each area (N,), square pixels: small, medium or large."""
    names = list(SIZE_LIMITS)
    limits = list(SIZE_LIMITS.values())[:-1]
    return [names[index] for index in np.searchsorted(limits, areas, side="right")]


def _in_order(counts: Counter) -> dict[str, int]:
    return {name: counts[name] for name in SIZE_LIMITS if counts[name]}


def _area(box: tuple[float, float, float, float]) -> float:
    left, top, right, bottom = box
    return (right - left) * (bottom - top)


def _quantiles(values: Sequence[float] | np.ndarray) -> tuple[float, ...]:
    if len(values) == 0:
        return (0.0,) * len(QUANTILES)
    return tuple(float(value) for value in np.percentile(values, QUANTILES))
