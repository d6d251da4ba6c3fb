"""A cleaned copy of a dataset as COCO JSON; nothing of the source is touched."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from kmrcnn.data.check.boxes import clip_box
from kmrcnn.data.check.coco_entries import coco_entries, instance_fields
from kmrcnn.data.check.doctor import Examination, annotated_sizes
from kmrcnn.data.check.images import image_fault
from kmrcnn.data.check.instances import MaskRules, instance_faults, near_duplicates
from kmrcnn.data.check.kinds import describe
from kmrcnn.data.check.masks import mask_box, mask_fault, usable_polygons
from kmrcnn.data.check.probe import ImageProbe
from kmrcnn.data.check.raw_coco import RawCoco
from kmrcnn.data.check.turned import turn_instance, turn_keypoints
from kmrcnn.data.files import written_aside
from kmrcnn.data.records import Instance

_UNUSABLE = ("missing-image", "unreadable-image", "size-mismatch")
_ROUNDS = 4  # an object has at most a fault of its mask, one of its box and their disagreement


@dataclass
class Repair:
    """The cleaned copy, and what was done.

    Attributes:
        document: COCO JSON.
        done: How often each kind of fault was mended.
        images: The folder from which its file names start.
    """

    document: dict[str, Any]
    done: Counter = field(default_factory=Counter)
    images: Path = Path()

    def write(self, path: str | Path) -> None:
        """Writes the JSON file."""
        with written_aside(path) as aside:
            aside.write_text(json.dumps(self.document, ensure_ascii=False), encoding="utf-8")


def repair(found: Examination) -> Repair:
    """Mends what can be mended and leaves out the rest, see `kinds.KINDS`.

    Entries of COCO files keep whatever else they hold. Other formats become COCO JSON.

    Raises:
        ValueError: The pictures are not files of their own, as in TFRecord.
    """
    annotations = found.annotations
    if any(record.path is None for record in annotations.records):
        raise ValueError(
            f"The pictures of {found.source} are not files of their own: a cleaned COCO file "
            "could not name them. Convert it first (kmrcnn data convert)."
        )
    raw = annotations.raw or coco_entries(annotations.dataset, annotations.images)
    result = Repair(
        {**raw.document, "images": [], "annotations": [], "categories": _categories(raw)},
        images=annotations.images,
    )
    result.done.update(problem.kind for problem in raw.problems)
    result.done.update(problem.kind for problem in annotations.skipped(found.problems))
    _add_pictures(result, found, raw)
    _number_annotations(result)
    return result


def _categories(raw: RawCoco) -> list[dict[str, Any]]:
    """The first entry of each class."""
    first: dict[Any, dict[str, Any]] = {}
    for entry in raw.document["categories"]:
        if isinstance(entry, dict) and isinstance(entry.get("id"), int):
            first.setdefault(entry["id"], entry)
    return [first[category_id] for category_id in raw.category_ids]


def _add_pictures(result: Repair, found: Examination, raw: RawCoco) -> None:
    """Adds the entries of all pictures that can be used, and those of their objects."""
    sizes = annotated_sizes(found.annotations, found.probes)
    # a COCO file does not tell that its masks stem from label images
    rules = replace(found.annotations.mask_rules(), are_labels=False)
    duplicates = _superfluous(found)
    used_ids = set()
    for index, (record, probe) in enumerate(zip(raw.records, found.probes)):
        fault = image_fault(record, probe)
        if fault is not None and fault.kind in _UNUSABLE:
            result.done[fault.kind] += 1
        elif record.image_id in used_ids:
            result.done["duplicate-image-id"] += 1
        elif index in duplicates:
            result.done["duplicate-image"] += 1
        else:
            used_ids.add(record.image_id)
            height, width = probe.upright_size
            entry = {**raw.images[index], "height": height, "width": width}
            result.document["images"].append(entry)
            result.done["exif-rotation"] += sizes[index] != probe.upright_size
            objects = _mend_objects(result, raw, index, probe, sizes[index], rules)
            result.document["annotations"] += [{**one, "image_id": entry["id"]} for one in objects]


def _superfluous(found: Examination) -> set[int]:
    """Of each group of equal pictures all but the one with most objects."""
    records = found.annotations.records
    superfluous = set()
    for group in found.equal_images:
        usable = [
            index
            for index in group
            if (fault := image_fault(records[index], found.probes[index])) is None
            or fault.kind not in _UNUSABLE
        ]
        by_objects = sorted(usable, key=lambda index: -len(records[index].instances))
        superfluous.update(by_objects[1:])
    return superfluous


def _mend_objects(
    result: Repair,
    raw: RawCoco,
    index: int,
    probe: ImageProbe,
    size: tuple[int, int],
    rules: MaskRules,
) -> list[dict[str, Any]]:
    """The entries of the sound and mended objects of one picture, in the upright frame."""
    record, upright = raw.records[index], probe.upright_size
    mended, entries = [], []
    for instance, source in zip(record.instances, raw.annotations[index]):
        sound, kinds = mend_instance(instance, size, rules)
        result.done.update(kinds)
        if sound is None:
            continue
        if size != upright:
            sound, source = _turn(sound, source, probe.orientation, size)
        mended.append(sound)
        entry = _annotation_entry(source, instance, sound, upright)
        entries.append({**entry, "category_id": raw.category_ids[instance.class_index]})
    pairs = near_duplicates(replace(record, instances=tuple(mended)), upright)
    twice = {second for _, second, _ in pairs}
    result.done["near-duplicate-box"] += len(twice)
    return [entry for number, entry in enumerate(entries) if number not in twice]


def mend_instance(
    instance: Instance, size: tuple[int, int], rules: MaskRules
) -> tuple[Instance | None, list[str]]:
    """Mends one object.

    Args:
        instance: The object.
        size: (height, width) of the frame in which it was annotated.
        rules: What its mask has to be like.

    Returns:
        The sound object, or None if it has to be left out; the kinds of fault it had.
    """
    kinds = []
    for _ in range(_ROUNDS):
        found = instance_faults(instance, size, rules)
        faults = [fault for fault in found if describe(fault.kind).is_fault]
        if not faults:
            return instance, kinds
        kind = faults[-1].kind  # the mask's before the box's, which may be taken from it
        kinds.append(kind)
        mend = _REMEDIES.get(kind)
        instance = None if mend is None else mend(instance, size)
        if instance is None:
            return None, kinds
    return None, kinds


def _take_box_of_mask(instance: Instance, size: tuple[int, int]) -> Instance | None:
    if instance.segmentation is None or mask_fault(instance.segmentation, size) is not None:
        return None
    tight = mask_box(instance.segmentation, size)
    return None if tight is None else replace(instance, box=tuple(tight.tolist()))


def _clip(instance: Instance, size: tuple[int, int]) -> Instance:
    return replace(instance, box=clip_box(instance.box, size))


def _drop_polygons(instance: Instance, size: tuple[int, int]) -> Instance | None:
    polygons = instance.segmentation
    usable = usable_polygons(polygons) if isinstance(polygons, list) else []
    return replace(instance, segmentation=usable, area=None) if usable else None


# the other kinds leave the object out
_REMEDIES: dict[str, Callable[[Instance, tuple[int, int]], Instance | None]] = {
    "bad-box": _take_box_of_mask,
    "zero-area-box": _take_box_of_mask,
    "box-outside-image": _take_box_of_mask,
    "box-beyond-image": _clip,
    "mask-box-mismatch": _take_box_of_mask,
    "bad-polygon": _drop_polygons,
    "polygon-too-short": _drop_polygons,
}


def _turn(
    instance: Instance, source: dict[str, Any], orientation: int, size: tuple[int, int]
) -> tuple[Instance, dict[str, Any]]:
    """Turns an object, and the keypoints that only its entry holds."""
    turned = turn_instance(instance, orientation, size)
    keypoints = source.get("keypoints")
    if instance.keypoints is None and isinstance(keypoints, list) and len(keypoints) % 3 == 0:
        rows = turn_keypoints(np.reshape(keypoints, (-1, 3)), orientation, size)
        source = {**source, "keypoints": rows.ravel().tolist()}
    return turned, source


def _annotation_entry(
    source: dict[str, Any], before: Instance, after: Instance, size: tuple[int, int]
) -> dict[str, Any]:
    """The source's entry, with the fields that were mended or are lacking."""
    fields = instance_fields(after, size)
    if after.area is None:  # what the source has in its place is none
        source = {name: value for name, value in source.items() if name != "area"}
    if after is before:
        return {**fields, **source}
    if after.segmentation is before.segmentation and "segmentation" in source:
        del fields["segmentation"]
    return {**source, **fields}


def _number_annotations(result: Repair) -> None:
    """Gives new ids to annotations without one and to those whose id is taken."""
    annotations = result.document["annotations"]
    numbers = [entry["id"] for entry in annotations if isinstance(entry.get("id"), int)]
    next_id = max(numbers, default=0) + 1
    used = set()
    for entry in annotations:
        has_id = isinstance(entry.get("id"), (int, str))
        if not has_id or entry["id"] in used:
            result.done["duplicate-annotation-id"] += has_id
            entry["id"] = next_id
            next_id += 1
        used.add(entry["id"])
