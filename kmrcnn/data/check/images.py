"""Image files against annotations: missing, unreadable, of another size, turned, twice there."""

from __future__ import annotations

from collections.abc import Sequence

from kmrcnn.data.check.kinds import Fault
from kmrcnn.data.check.probe import ImageProbe
from kmrcnn.data.records import Problem, Record


def check_image(record: Record, probe: ImageProbe) -> list[Problem]:
    """Finds what is wrong with one image file, a single problem at most."""
    fault = image_fault(record, probe)
    if fault is None:
        return []
    return [Problem(fault.kind, f"{_name(record)}: {fault.message}", record.image_id)]


def image_fault(record: Record, probe: ImageProbe) -> Fault | None:
    """Finds how file and annotation disagree."""
    if probe.is_missing:
        return Fault("missing-image", "there is no such file")
    if probe.error is not None:
        return Fault("unreadable-image", probe.error)
    if record.size is not None and tuple(record.size) != probe.upright_size:
        return _size_fault(tuple(record.size), probe)
    if probe.orientation != 1:
        message = (
            f"EXIF orientation {probe.orientation}: it is read upright; "
            "see that it is annotated so (kmrcnn data view)"
        )
        return Fault("exif-orientation", message)
    return None


def check_equal_images(records: Sequence[Record], groups: list[list[int]]) -> list[Problem]:
    """One problem for every image file that another one equals, but the first of each group.

    Entries that share an image id have that fault already.
    """
    return [
        Problem(
            "duplicate-image",
            f"{_name(records[index])} has the same content as {_name(records[group[0]])}",
            records[index].image_id,
        )
        for group in groups
        for index in group[1:]
        if records[index].image_id != records[group[0]].image_id
    ]


def _size_fault(annotated: tuple[int, int], probe: ImageProbe) -> Fault:
    shown, said = _extent(probe.upright_size), _extent(annotated)
    if annotated == probe.size:
        return Fault("exif-rotation", f"EXIF turns it to {shown}, but it is annotated as {said}")
    return Fault("size-mismatch", f"the file has {shown}, the annotation says {said}")


def _name(record: Record) -> str:
    return f"picture {record.image_id!r}" if record.path is None else record.path.name


def _extent(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]} px (height x width)"
