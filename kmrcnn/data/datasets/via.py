"""VGG Image Annotator: regions as a dict (VIA 1) or a list (VIA 2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kmrcnn.data.datasets.annotation_files import find_image_folder, read_json
from kmrcnn.data.datasets.collector import Collector, choose_classes, shortened
from kmrcnn.data.datasets.outlines import circle, ellipse
from kmrcnn.data.records import AnnotatedImages, Instance, Record

_CLASS_ATTRIBUTES = ("class", "label", "name", "category", "type", "object")
_NAMELESS = "object"  # the class where regions carry no attribute


def load_via(
    path: str | Path,
    images: str | Path | None = None,
    *,
    class_attribute: str | None = None,
    class_names: Iterable[str] | None = None,
) -> AnnotatedImages:
    """Reads a VIA project or export.

    Polygons, circles and ellipses are masks; rectangles are boxes, or masks where other objects
    have one. Points and polylines enclose nothing: they are left out and reported.

    Args:
        path: The JSON file.
        images: Folder of the pictures; None looks beside the file and in `images`.
        class_attribute: The region attribute that holds the class. None takes "class", "label",
            "name", "category", "type" or "object", whichever occurs first in this list, else the
            most frequent attribute; regions without any attribute are all of one class.
        class_names: Classes in order; None takes the names in use, by alphabet. One name alone
            also names regions without an attribute.

    Returns:
        The dataset; image ids are the file names.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not of VIA, or no picture is found.
    """
    path = Path(path)
    document = read_json(path)
    if not is_via(document):
        raise ValueError(f"{path} is not a file of VIA: no entry has 'filename' and 'regions'.")
    collector = Collector(path.stem, rectangles_are_masks=True)
    entries = [entry for entry in _entries(document).values() if _is_entry(entry)]
    wanted = None if class_names is None else tuple(class_names)
    nameless = wanted[0] if wanted is not None and len(wanted) == 1 else _NAMELESS
    attribute = class_attribute or _find_attribute(entries)
    labels = {label for e in entries for r in _regions(e) if (label := _label(r, attribute))}
    if not labels or any(_is_bare(region) for entry in entries for region in _regions(entry)):
        labels.add(nameless)
    names = choose_classes(labels, wanted)
    usual = [path.parent, path.parent / "images", path.parent.parent / "images"]
    candidates = usual if images is None else [Path(images)]
    folder = find_image_folder(candidates, [entry["filename"] for entry in entries], path)
    for entry in entries:
        image_id = entry["filename"]
        instances = tuple(_read_instances(entry, attribute, nameless, names, collector))
        collector.add(Record(image_id, folder / image_id, None, instances))
    return collector.dataset(names)


def is_via(document: Any) -> bool:
    """Whether a JSON document is a project or an export of VIA."""
    entries = _entries(document)
    return isinstance(entries, dict) and any(_is_entry(entry) for entry in entries.values())


def _entries(document: Any) -> Any:
    if isinstance(document, dict) and "_via_img_metadata" in document:
        return document["_via_img_metadata"]
    return document


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("filename"), str) and "regions" in entry


def _regions(entry: dict[str, Any]) -> list[Any]:
    regions = entry["regions"] or []
    return list(regions.values()) if isinstance(regions, dict) else list(regions)


def _attributes(region: Any) -> dict[str, Any]:
    attributes = region.get("region_attributes") if isinstance(region, dict) else None
    return attributes if isinstance(attributes, dict) else {}


def _find_attribute(entries: list[dict[str, Any]]) -> str:
    counts = Counter(
        key for entry in entries for region in _regions(entry) for key in _attributes(region)
    )
    usual = [name for name in _CLASS_ATTRIBUTES if name in counts]
    return usual[0] if usual else max(counts, key=counts.get, default=_CLASS_ATTRIBUTES[0])


def _is_bare(region: Any) -> bool:
    return isinstance(region, dict) and not _attributes(region)


def _label(region: Any, attribute: str) -> str | None:
    """The class of a region: text, or the ticked one of some checkboxes."""
    value = _attributes(region).get(attribute)
    if isinstance(value, dict):
        value = next((name for name, ticked in value.items() if ticked), None)
    return None if value is None or str(value).strip() == "" else str(value).strip()


def _read_instances(
    entry: dict[str, Any],
    attribute: str,
    nameless: str,
    names: tuple[str, ...],
    collector: Collector,
) -> Iterator[Instance]:
    image_id = entry["filename"]
    for number, region in enumerate(_regions(entry)):
        label = nameless if _is_bare(region) else _label(region, attribute)
        if label not in names:
            message = f"The region has no class, or an unknown one: {label!r}."
            collector.note("unknown-category", message, image_id, number)
            continue
        outline = _read_outline(region, image_id, number, collector)
        if outline is not None:
            box, polygon = outline
            segmentation = None if polygon is None else [polygon]
            instance = collector.make_instance(
                image_id, None, names.index(label), box, segmentation, annotation_id=number
            )
            if instance is not None:
                yield instance


def _read_outline(
    region: dict[str, Any], image_id: str, number: int, collector: Collector
) -> tuple[Any, Any] | None:
    """Box or polygon of a region, the other one None; None with a note for other shapes."""
    shape = region.get("shape_attributes")
    kind = shape.get("name") if isinstance(shape, dict) else None
    try:
        if kind == "polygon":
            return None, _points(shape)
        if kind == "rect":
            x, y, width, height = (float(shape[key]) for key in ("x", "y", "width", "height"))
            return (x, y, x + width, y + height), None
        if kind == "circle":
            return None, circle(*(float(shape[key]) for key in ("cx", "cy", "r")))
        if kind == "ellipse":
            sides = (float(shape[key]) for key in ("cx", "cy", "rx", "ry"))
            return None, ellipse(*sides, float(shape.get("theta", 0)))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        message = f"A {kind} lacks numbers ({error!r}): {shortened(shape)}"
        collector.note("bad-polygon", message, image_id, number)
        return None
    message = f"A region of the shape {kind!r} encloses nothing."
    collector.note("unsupported-shape", message, image_id, number)
    return None


def _points(shape: dict[str, Any]) -> np.ndarray:
    x, y = shape["all_points_x"], shape["all_points_y"]
    if len(x) != len(y):
        raise ValueError(f"{len(x)} x and {len(y)} y")
    return np.stack([np.asarray(x, np.float64), np.asarray(y, np.float64)], axis=1)
