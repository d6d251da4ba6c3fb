"""LabelMe: one JSON file per picture."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from kmrcnn.data.datasets.annotation_files import read_json, read_lines
from kmrcnn.data.datasets.collector import Collector, choose_classes, relative_id, shortened
from kmrcnn.data.datasets.outlines import circle
from kmrcnn.data.example import MaskCrop
from kmrcnn.data.measures import to_size
from kmrcnn.data.records import AnnotatedImages, Instance, Record

LABELS_FILE = "labels.txt"  # what LabelMe's --labels reads: one class per line
_NO_CLASSES = frozenset({"__ignore__", "_background_"})  # LabelMe's own lines in such files
CROWD_FLAG = "iscrowd"
_MASK_KINDS = frozenset({"polygon", "circle", "mask"})


def load_labelme(
    source: str | Path,
    images: str | Path | None = None,
    *,
    class_names: Iterable[str] | None = None,
) -> AnnotatedImages:
    """Reads a folder of LabelMe files.

    Polygons, circles and masks are masks; rectangles are boxes, or masks where other objects have
    one. Shapes of one label with the same `group_id` are parts of one object. Points and lines
    enclose nothing: they are left out and reported. A shape with the flag "iscrowd" is a crowd.

    Args:
        source: The folder, searched with its sub-folders, or one file.
        images: Folder of the pictures, by their file names; None follows `imagePath`. A picture
            that is in no file but in the JSON (`imageData`) is read from there.
        class_names: Classes in order; None reads `labels.txt` in the folder if there is one, else
            takes the labels in use, by alphabet.

    Returns:
        The dataset; image ids are the paths of the JSON files below the folder, without suffix.

    Raises:
        ValueError: There is no LabelMe file.
    """
    source = Path(source)
    root = source.parent if source.is_file() else source
    paths = [source] if source.is_file() else sorted(source.rglob("*.json"))
    collector = Collector(source.stem, rectangles_are_masks=True)
    documents = dict(_read_documents(paths, root, collector))
    if not documents:
        hint = f" {collector.problems[0].message}" if collector.problems else ""
        raise ValueError(f"There is no LabelMe file in {source}.{hint}")
    shapes = {path: _join_groups(document["shapes"]) for path, document in documents.items()}
    if class_names is None and (root / LABELS_FILE).is_file():
        class_names = [n for n in read_lines(root / LABELS_FILE) if n not in _NO_CLASSES]
    in_use = {shape.label for objects in shapes.values() for shape in objects if shape.kinds_known}
    names = choose_classes(in_use - _NO_CLASSES, class_names)
    for path, document in documents.items():
        image_id = relative_id(path, root)
        size = to_size(document.get("imageHeight"), document.get("imageWidth"))
        instances = tuple(_read_instances(shapes[path], image_id, size, names, collector))
        file, data = _find_picture(document, path, images)
        collector.add(Record(image_id, file, size, instances, data))
    return collector.dataset(names)


@dataclass(frozen=True)
class _Object:
    label: str
    parts: list[dict[str, Any]]

    @property
    def kinds_known(self) -> bool:
        return any(_kind(part) in _MASK_KINDS | {"rectangle"} for part in self.parts)


def is_labelme(document: Any) -> bool:
    """Whether a JSON document is a file of LabelMe."""
    return isinstance(document, dict) and isinstance(document.get("shapes"), list)


def _read_documents(
    paths: list[Path], root: Path, collector: Collector
) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in tqdm(paths, desc=collector.name, leave=False, disable=None):
        try:
            document = read_json(path)
        except (OSError, ValueError) as error:
            collector.note("broken-record", str(error), relative_id(path, root))
            continue
        if is_labelme(document):
            yield path, document
        else:
            message = f"{path} is not a file of LabelMe: it has no list 'shapes'."
            collector.note("broken-record", message, relative_id(path, root))


def _join_groups(shapes: list[Any]) -> list[_Object]:
    """Shapes as objects: those of one label and group are one."""
    groups: dict[Any, _Object] = {}
    for number, shape in enumerate(shapes):
        shape = shape if isinstance(shape, dict) else {"broken": shape}
        label, group = str(shape.get("label", "")), shape.get("group_id")
        key = (label, str(group)) if group is not None else number
        groups.setdefault(key, _Object(label, [])).parts.append(shape)
    return list(groups.values())


def _find_picture(
    document: dict[str, Any], path: Path, images: str | Path | None
) -> tuple[Path | None, bytes | None]:
    """The picture's file, or else its bytes; a file that does not exist if there is neither."""
    named = str(document.get("imagePath") or f"{path.stem}.jpg").replace("\\", "/")
    file = path.parent / named if images is None else Path(images) / Path(named).name
    data = document.get("imageData")
    if file.is_file() or not isinstance(data, str):
        return file, None
    try:
        return None, base64.b64decode(data)
    except (binascii.Error, ValueError):
        return file, None


def _read_instances(
    objects: list[_Object],
    image_id: str,
    size: tuple[int, int] | None,
    names: tuple[str, ...],
    collector: Collector,
) -> Iterator[Instance]:
    for number, one in enumerate(objects):
        if not one.kinds_known:
            kinds = ", ".join(sorted({_kind(part) for part in one.parts}))
            message = f"A shape {kinds!r} encloses nothing: {one.label!r}."
            collector.note("unsupported-shape", message, image_id, number)
        elif one.label not in names:
            message = f"The class {one.label!r} is not among {', '.join(names[:10])}."
            collector.note("unknown-category", message, image_id, number)
        else:
            instance = _read_object(one, number, image_id, size, names, collector)
            if instance is not None:
                yield instance


def _read_object(
    one: _Object,
    number: int,
    image_id: str,
    size: tuple[int, int] | None,
    names: tuple[str, ...],
    collector: Collector,
) -> Instance | None:
    try:
        box, segmentation = _outline(one.parts)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError, OSError) as error:
        message = f"A shape cannot be read ({error!r}): {shortened(one.parts[0].get('points'))}"
        collector.note("bad-polygon", message, image_id, number)
        return None
    crowd = any(bool((part.get("flags") or {}).get(CROWD_FLAG)) for part in one.parts)
    return collector.make_instance(
        image_id,
        size,
        names.index(one.label),
        box,
        segmentation,
        annotation_id=number,
        is_crowd=crowd,
    )


def _outline(parts: list[dict[str, Any]]) -> tuple[Any, Any]:
    """Box and segmentation of an object, one of them None."""
    parts = [part for part in parts if _kind(part) in _MASK_KINDS | {"rectangle"}]
    if len(parts) == 1 and _kind(parts[0]) == "rectangle":
        points = np.asarray(parts[0]["points"], np.float64).reshape(2, 2)
        return (*points.min(axis=0), *points.max(axis=0)), None
    masks = [part for part in parts if _kind(part) == "mask"]
    if masks:
        return None, _bitmap(masks[0])
    return None, [_polygon(part) for part in parts]


def _polygon(part: dict[str, Any]) -> np.ndarray:
    points = np.asarray(part["points"], np.float64).reshape(-1, 2)
    if _kind(part) == "circle":  # centre, and a point on the rim
        return circle(*points[0], float(np.hypot(*(points[1] - points[0]))))
    if _kind(part) == "rectangle":
        (x1, y1), (x2, y2) = points
        return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
    return points


def _bitmap(part: dict[str, Any]) -> MaskCrop:
    """A shape of the kind "mask": a PNG in base64, and the corners of its window."""
    with Image.open(io.BytesIO(base64.b64decode(part["mask"]))) as image:
        bitmap = np.array(image.convert("L")) != 0
    left, top = (int(round(float(value))) for value in part["points"][0])
    tight = MaskCrop.from_full(bitmap)
    return MaskCrop(tight.bitmap, tight.top + top, tight.left + left)


def _kind(part: dict[str, Any]) -> str:
    return str(part.get("shape_type") or "polygon")  # old files have polygons only
